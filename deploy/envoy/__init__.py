"""The front door's configuration, as a template and the code that fills it in."""
