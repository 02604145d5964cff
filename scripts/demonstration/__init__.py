"""The demonstration: Seattle's weather, from a table to a picture."""
