"""The program `agent`: a Serf agent for all programs of a host, kept running."""
