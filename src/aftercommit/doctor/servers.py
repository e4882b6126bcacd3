"""Which checks an address asks for."""

from collections.abc import Callable

from aftercommit.doctor.finding import Report
from aftercommit.stores.sql.address import Address


async def examine_server(url: str, *, workers: int, read_ms: Callable[[], int]) -> Report:
    """The checks of the database at `url`. Raises `ConfigurationError` where it is no address."""
    address = Address.parse(url)
    # Imported here, because only the driver that is needed must be installed.
    if address.dialect == "postgresql":
        from aftercommit.doctor.postgres import examine_postgres  # noqa: PLC0415

        return await examine_postgres(address, workers=workers, read_ms=read_ms)
    from aftercommit.doctor.mysql import examine_mysql  # noqa: PLC0415

    return await examine_mysql(address, workers=workers, read_ms=read_ms)
