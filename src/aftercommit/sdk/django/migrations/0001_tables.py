"""The three tables, as `aftercommit.sdk.tables` spells them: Django's models know no such key before 5.2."""

from typing import Any, ClassVar

from django.db import migrations

from aftercommit.sdk.databases.dialects import INBOX_TABLE, OUTBOX_TABLE, OUTCOME_TABLE
from aftercommit.sdk.tables import ddl


def create(_apps: Any, schema_editor: Any) -> None:
    """Create them."""
    for statement in ddl(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def drop(_apps: Any, schema_editor: Any) -> None:
    """Drop them."""
    for table in (OUTCOME_TABLE, INBOX_TABLE, OUTBOX_TABLE):
        schema_editor.execute(f"DROP TABLE {table}")


class Migration(migrations.Migration):
    """The first."""

    initial = True
    # MySQL commits with every CREATE TABLE, and Django refuses to pretend otherwise.
    atomic = False
    operations: ClassVar[list[Any]] = [migrations.RunPython(create, drop)]
