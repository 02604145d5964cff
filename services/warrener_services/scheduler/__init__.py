"""The program `scheduler`."""
