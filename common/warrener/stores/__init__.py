"""The stores: one code for PostgreSQL and SQLite, behind `warrener.store`."""
