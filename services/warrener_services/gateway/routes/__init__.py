"""The routes of the gateway, a router for each thing that people ask about."""
