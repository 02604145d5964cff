"""The stack of docker-compose.yml: its secrets, its containers, and its trial."""
