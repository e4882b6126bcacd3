"""The SQLite store: one file, one process, one thread that writes."""

from aftercommit.stores.sqlite.migrate import migrations_sql, missing_migrations, run_migrations
from aftercommit.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "migrations_sql", "missing_migrations", "run_migrations"]
