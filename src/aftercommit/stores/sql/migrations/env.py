"""What Alembic runs for each step: `stores/sql/migrate.py` hands it the connection, or the dialect to write SQL for."""

from typing import Any

from alembic import context

VERSION_TABLE = "aftercommit_schema"

_given: dict[str, Any] = context.config.attributes
if context.is_offline_mode():
    context.configure(
        dialect_name=_given["dialect"], version_table=VERSION_TABLE, literal_binds=True, transactional_ddl=False
    )
else:
    context.configure(connection=_given["connection"], version_table=VERSION_TABLE)
# The transaction, and the lock that it begins with, are the caller's.
context.run_migrations()
