"""Alembic's entry: runs on the connection and in the transaction that `upgrade` was given."""

from alembic import context

from warrener.stores.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
