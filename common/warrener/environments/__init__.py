"""The environments: one module each, behind `warrener.environment`."""
