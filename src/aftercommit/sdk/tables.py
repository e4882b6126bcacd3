"""The SDK's tables in the user's own database: declared into their metadata or migrations, or printed.

They are never made behind anybody's back. Ids are text, because every driver sends text and none agrees on UUIDs. `at`
is in UTC, by the database's clock. There is no index on it: ids are UUIDv7, so that the primary key is in the order of
time already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aftercommit.sdk.databases.dialects import INBOX_TABLE, OUTBOX_TABLE, OUTCOME_TABLE

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

MESSAGE_ID_LENGTH: Final = 36
OUTCOME_LENGTH: Final = 11
SUBSCRIPTION_LENGTH: Final = 64

_INNODB: Final = "ENGINE=InnoDB"
# Ids and names are ASCII; compared byte by byte, so that no collation makes two of them equal.
_ASCII: Final = "CHARACTER SET ascii COLLATE ascii_bin"


@dataclass(frozen=True, slots=True)
class _Types:
    text: str
    at: str
    message: str
    options: str = ""

    def varchar(self, length: int) -> str:
        return self.text.format(length)


_TYPES: Final = {
    "postgresql": _Types("varchar({})", "timestamptz", "bytea"),
    "mysql": _Types(f"varchar({{}}) {_ASCII}", "datetime(3)", "longblob", f" {_INNODB}"),
    "sqlite": _Types("varchar({})", "datetime", "blob"),
}


def ddl(dialect: str, *, outcome: bool = True, inbox: bool = True, outbox: bool = True) -> list[str]:
    """The statements that create the tables, for `postgresql`, `mysql` (MariaDB too) or `sqlite`.

    Raises ValueError for another name.

        for statement in ddl("postgresql", inbox=False, outbox=False):
            print(statement)
    """
    types = _TYPES.get("mysql" if dialect == "mariadb" else dialect)
    if types is None:
        raise ValueError(f"{dialect!r} is none of {', '.join(_TYPES)}.")
    message_id, at = f"message_id {types.varchar(MESSAGE_ID_LENGTH)} NOT NULL", f"at {types.at} NOT NULL"
    wanted = {
        OUTCOME_TABLE: (
            outcome,
            (f"{message_id} PRIMARY KEY", f"outcome {types.varchar(OUTCOME_LENGTH)} NOT NULL", at),
        ),
        INBOX_TABLE: (
            inbox,
            (
                f"subscription {types.varchar(SUBSCRIPTION_LENGTH)} NOT NULL",
                message_id,
                at,
                "PRIMARY KEY (subscription, message_id)",
            ),
        ),
        OUTBOX_TABLE: (outbox, (f"{message_id} PRIMARY KEY", f"message {types.message} NOT NULL", at)),
    }
    return [
        "CREATE TABLE {} (\n    {}\n){}".format(name, ",\n    ".join(columns), types.options)
        for name, (is_wanted, columns) in wanted.items()
        if is_wanted
    ]


def declare(
    metadata: "MetaData", *, outcome: bool = True, inbox: bool = True, outbox: bool = True
) -> "dict[str, Table]":
    """Declare the tables in a SQLAlchemy MetaData, where `create_all` and Alembic find them; the tables by name.

    They are in the connection's default schema, whatever the MetaData's is. Needs SQLAlchemy.

        declare(Base.metadata, inbox=False)
    """
    from sqlalchemy import BLANK_SCHEMA, Column, DateTime, LargeBinary, String, Table  # noqa: PLC0415 - optional
    from sqlalchemy.dialects import mysql  # noqa: PLC0415

    def text(length: int) -> Any:
        return String(length).with_variant(
            mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
        )

    at_type = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")
    blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

    def message_id() -> Any:
        return Column("message_id", text(MESSAGE_ID_LENGTH), primary_key=True, nullable=False)

    def at() -> Any:
        return Column("at", at_type, nullable=False)

    wanted: dict[str, tuple[bool, Callable[[], tuple[Any, ...]]]] = {
        OUTCOME_TABLE: (outcome, lambda: (message_id(), Column("outcome", text(OUTCOME_LENGTH), nullable=False), at())),
        INBOX_TABLE: (
            inbox,
            lambda: (Column("subscription", text(SUBSCRIPTION_LENGTH), primary_key=True), message_id(), at()),
        ),
        OUTBOX_TABLE: (outbox, lambda: (message_id(), Column("message", blob, nullable=False), at())),
    }
    return {
        name: Table(name, metadata, *columns(), schema=BLANK_SCHEMA, mysql_engine="InnoDB", mariadb_engine="InnoDB")
        for name, (is_wanted, columns) in wanted.items()
        if is_wanted
    }


def create_tables(op: Any, *, outcome: bool = True, inbox: bool = True, outbox: bool = True) -> None:
    """Create the tables in an Alembic migration; `op` is Alembic's.

    def upgrade() -> None:
        create_tables(op)
    """
    for statement in ddl(op.get_context().dialect.name, outcome=outcome, inbox=inbox, outbox=outbox):
        op.execute(statement)


def drop_tables(op: Any, *, outcome: bool = True, inbox: bool = True, outbox: bool = True) -> None:
    """Drop the tables in an Alembic migration. Whatever a check-back would have asked for is lost with them.

    def downgrade() -> None:
        drop_tables(op)
    """
    for name, is_wanted in ((OUTCOME_TABLE, outcome), (INBOX_TABLE, inbox), (OUTBOX_TABLE, outbox)):
        if is_wanted:
            op.drop_table(name)
