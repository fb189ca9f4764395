"""What is needed to run Headrace somewhere, kept as files; code only where a file needs filling in."""
