"""The program `cli`."""
