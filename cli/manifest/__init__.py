"""The declarative file: what an installation is to be, read, checked, compared and applied."""
