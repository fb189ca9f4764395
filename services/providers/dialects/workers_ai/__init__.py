"""Workers AI's own API, `run`, as a target."""
