"""An asyncio client of Serf's RPC protocol."""
