"""The management API: what operators and tenants configure, over REST."""
