"""Sessions in files of one machine."""
