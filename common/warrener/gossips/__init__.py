"""The gossips: one module each, behind `warrener.gossip`."""
