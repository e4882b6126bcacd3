"""Which driver and which texts an address asks for."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import NamedTuple

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.session import Session
from aftercommit.stores.sql.statements import MYSQL, POSTGRES, Statements


class Backend(NamedTuple):
    """`connector`: makes connections whose transactions may stay idle for so many seconds."""

    statements: Statements
    connector: Callable[[float], Callable[[], Awaitable[Session]]]


def backend_for(address: Address) -> Backend:
    """Raises `ConfigurationError` where its driver is not installed."""
    try:
        if address.dialect == "postgresql":
            postgres = import_module("aftercommit.stores.sql.postgres")
            return Backend(POSTGRES, lambda hold: postgres.PostgresConnector(address, hold_seconds=hold))
        mysql = import_module("aftercommit.stores.sql.mysql")
        return Backend(MYSQL, lambda hold: mysql.MysqlConnector(address, hold_seconds=hold))
    except ModuleNotFoundError as error:
        extra = "postgres" if address.dialect == "postgresql" else "mysql"
        raise ConfigurationError(f"This database needs {error.name}: pip install 'aftercommit[{extra}]'.") from error
