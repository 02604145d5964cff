"""The targets: one module each, behind `warrener.target`."""
