"""A mock of a gateway's orchestrator: a client that speaks AMQP only, and keeps books."""
