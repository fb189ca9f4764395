"""One request from admission to record, whatever it came in on."""
