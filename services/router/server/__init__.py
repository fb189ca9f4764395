"""Router's servicers: decode, look up, decide, encode. One module each."""
