"""Migrations of ledger's tables, in order."""
