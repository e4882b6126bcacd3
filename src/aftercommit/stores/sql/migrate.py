"""The schema's versions: numbered steps in `migrations/versions`, which Alembic runs one by one.

Functions that take a URL take it as its user wrote it, and raise `ConfigurationError` with what to do about it, never
with a password. Alembic keeps its present step in global variables: one process migrates one database at a time.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, NullPool, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.schema import metadata

SCRIPTS: Final = Path(__file__).with_name("migrations")
VERSION_TABLE: Final = "aftercommit_schema"
CONNECT_SECONDS: Final = 5
# "ACmt": who migrates PostgreSQL holds this advisory lock until his step is committed.
LOCK: Final = 0x41436D74
LOCK_SECONDS: Final = 60
# Whoever waits for a table makes everybody wait who comes later: not for long, rather again after a pause.
TABLE_WAIT_SECONDS: Final = 2
TRIES_MAX: Final = 10
PAUSE_SECONDS: Final = 3.0
# On MySQL the lock's name is the server's, not the database's.
_MYSQL_LOCK: Final = "CONCAT('aftercommit ', MD5(DATABASE()))"
# A lock was not to be had in time, or a deadlock was ended: by PostgreSQL's name, by MySQL's number.
_IN_THE_WAY: Final = ("55P03", "40P01", 1205, 1213)

Pause = Callable[[float], Awaitable[object]]


class Migration(NamedTuple):
    """A step of the schema. `version` is what the database has after it, four digits."""

    version: str
    name: str


async def run_migrations(url: str, *, pause: Pause = asyncio.sleep) -> list[str]:
    """Bring the database up to date, step by step; the names of what was applied here.

    May run in several processes at once, and while nodes work. `pause` waits for so many seconds before another try.
    """
    return await _run(Address.parse(url), pause)


async def missing_migrations(url: str) -> list[str]:
    """The names of the migrations that the database still needs. Changes nothing."""
    return [each.name for each in await _read_missing(Address.parse(url))]


async def migrations_sql(url: str) -> str:
    """What `run_migrations` would run, as a script for `psql` or `mysql`; empty where nothing is missing."""
    address = Address.parse(url)
    missing = await _read_missing(address)
    with _told(address, "read"):
        return "\n".join(_script(each, address.dialect) for each in missing)


async def require_known_schema(address: Address, *, migrate: bool = False) -> None:
    """Raise `ConfigurationError` unless the database has exactly the schema that this version knows.

    `migrate`: bring it up to date first.
    """
    missing = await _read_missing(address)
    if missing and migrate:
        await _run(address, asyncio.sleep)
    elif missing:
        names = ", ".join(each.name for each in missing)
        raise ConfigurationError(
            f"The database {address.shown} is not up to date ({names} missing): run `aftercommit migrate`."
        )


def known_migrations() -> list[Migration]:
    """Every migration this version knows, in order."""
    names = sorted(each.stem for each in (SCRIPTS / "versions").glob("[0-9]*.py"))
    return [Migration(name[:4], name) for name in names]


async def _run(address: Address, pause: Pause) -> list[str]:
    applied: list[str] = []
    with _told(address, "migrated"):
        while (step := await _apply_next(address, pause)) is not None:
            applied.append(step.name)
    return applied


async def _apply_next(address: Address, pause: Pause) -> Migration | None:
    """Apply the first missing step; None where nothing is missing."""
    for tries in range(1, TRIES_MAX + 1):
        try:
            async with _connected(address) as connection:
                await _lock(connection, address)
                missing = await connection.run_sync(_missing, address)
                if missing:
                    await connection.run_sync(_upgrade, missing[0])
                await connection.commit()
                return missing[0] if missing else None
        except DBAPIError as error:
            if not _in_the_way(error):
                raise
        if tries < TRIES_MAX:
            await pause(PAUSE_SECONDS)
    raise ConfigurationError(
        f"The database {address.shown} could not be migrated, because its tables were in use for too long: end another"
        " migration, a backup or a long transaction, and run `aftercommit migrate` again."
    )


async def _lock(connection: AsyncConnection, address: Address) -> None:
    """Wait until nobody else migrates, and see to it that nobody waits long for us."""
    if address.dialect == "postgresql":
        # Of this transaction only: a pooler may lend the server connection to somebody else after it.
        await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        await connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_WAIT_SECONDS}s'"))
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        return
    wait = TABLE_WAIT_SECONDS
    await connection.execute(text(f"SET SESSION lock_wait_timeout = {wait}, innodb_lock_wait_timeout = {wait}"))
    locked = await connection.execute(text(f"SELECT GET_LOCK({_MYSQL_LOCK}, {LOCK_SECONDS})"))
    if locked.scalar() != 1:
        raise ConfigurationError(f"The database {address.shown} is being migrated by somebody else: try again later.")


async def _read_missing(address: Address) -> list[Migration]:
    with _told(address, "read"):
        async with _connected(address) as connection:
            return await connection.run_sync(_missing, address)


def _missing(connection: Connection, address: Address) -> list[Migration]:
    known = known_migrations()
    there = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in there:
        taken = sorted(there & metadata(address.dialect).tables.keys())
        if taken:
            raise ConfigurationError(
                f"The database {address.shown} has tables of somebody else ({', '.join(taken)}): give AfterCommit a"
                " database of its own."
            )
        return known
    versions = [str(each) for each in connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars()]
    # No row is what a first migration on MySQL leaves that was killed.
    if not versions:
        return known
    if max(versions) not in [each.version for each in known]:
        raise ConfigurationError(
            f"The database {address.shown} has schema version {max(versions)}, this AfterCommit knows up to"
            f" {known[-1].version}: run the newer AfterCommit."
        )
    return [each for each in known if each.version > max(versions)]


def _upgrade(connection: Connection, step: Migration) -> None:
    from alembic import command  # noqa: PLC0415 - a node that finds nothing missing does without it

    if connection.dialect.name == "mysql" and not inspect(connection).has_table(VERSION_TABLE):
        # Alembic would give the primary key a name, which MySQL ignores with a warning that lands in the log.
        column = "version_num VARCHAR(32) NOT NULL PRIMARY KEY"
        connection.execute(text(f"CREATE TABLE {VERSION_TABLE} ({column}) ENGINE=InnoDB"))
    command.upgrade(_config({"connection": connection}), step.version)


def _script(step: Migration, dialect: str) -> str:
    from alembic import command  # noqa: PLC0415 - as above

    written = io.StringIO()
    known = [each.version for each in known_migrations()]
    before = ["base", *known][known.index(step.version)]
    command.upgrade(_config({"dialect": dialect}, written), f"{before}:{step.version}", sql=True)
    if dialect == "postgresql":
        lock = f"SET LOCAL lock_timeout = '{TABLE_WAIT_SECONDS}s';\nSELECT pg_advisory_xact_lock({LOCK});"
        return f"BEGIN;\n\n{lock}\n\n{written.getvalue().strip()}\n\nCOMMIT;\n"
    return f"SET SESSION lock_wait_timeout = {TABLE_WAIT_SECONDS};\n\n{written.getvalue().strip()}\n"


def _config(attributes: dict[str, Any], written: io.StringIO | None = None) -> Any:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config(output_buffer=written, attributes=attributes)
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[AsyncConnection]:
    options: dict[str, object] = {"connect_timeout": CONNECT_SECONDS}
    if address.dialect == "postgresql":
        options = {"timeout": CONNECT_SECONDS}
        if "pooler" in address.options:
            # A statement's name would outlive the transaction, on a server connection that somebody else gets.
            options |= {"prepared_statement_name_func": lambda: "", "statement_cache_size": 0}
    engine = create_async_engine(address.sqlalchemy_url, poolclass=NullPool, connect_args=options)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@contextmanager
def _told(address: Address, done: str) -> Iterator[None]:
    """Raise what went wrong as a `ConfigurationError`: the database could not be `done`."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "postgres" if address.dialect == "postgresql" else "mysql"
        raise ConfigurationError(f"This database needs {error.name}: pip install 'aftercommit[{extra}]'.") from error
    except (DBAPIError, OSError) as error:
        # SQLAlchemy's own words have the statement in them, the driver's have the reason.
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        said = str(cause.args[-1] if cause.args else type(cause).__name__).rstrip(".")
        raise ConfigurationError(f"The database {address.shown} could not be {done}: {said}.") from error


def _in_the_way(error: DBAPIError) -> bool:
    number = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return number in _IN_THE_WAY or getattr(error.orig, "sqlstate", None) in _IN_THE_WAY
