"""Messages in PostgreSQL, MySQL or MariaDB: one store, any number of nodes."""

from aftercommit.stores.sql.store import SqlStore

__all__ = ["SqlStore"]
