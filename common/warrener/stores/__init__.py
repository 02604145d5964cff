"""The stores: one code for PostgreSQL and SQLite, behind `warrener.store`."""

from warrener.stores.sql import open_store

__all__ = ["open_store"]
