"""What the cache decides, pure."""
