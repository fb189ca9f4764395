"""What is wrong with a machine's set-up, in words that a person can act on."""
