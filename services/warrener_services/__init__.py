"""The programs of Warrener."""
