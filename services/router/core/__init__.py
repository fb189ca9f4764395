"""What router decides, without I/O: the standard library and `kit`'s pure modules only."""
