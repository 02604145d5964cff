"""The transfers: one module each, behind `warrener.transfer`."""
