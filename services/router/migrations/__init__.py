"""Migrations of router's tables, in order."""
