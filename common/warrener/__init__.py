"""Warrener: a workload manager for science gateways and data pipelines."""
