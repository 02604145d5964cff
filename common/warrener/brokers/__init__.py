"""The brokers: one module each, behind `warrener.broker`."""
