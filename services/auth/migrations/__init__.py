"""Migrations of auth's tables, in order."""
