"""The program `gossip`."""
