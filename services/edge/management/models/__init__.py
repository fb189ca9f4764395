"""Bodies, queries and results of the management API: what is checked, and what is documented."""
