"""What stands on the wire: errors, events, log entries as clients see them. Pure."""
