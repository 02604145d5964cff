"""The program `gossip`: passes on what Serf says, so that no other program needs an agent beside it."""
