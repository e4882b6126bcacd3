"""A database for each test of the store suite: the same one every time, emptied in between, which is a hundred times
quicker than a new one.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager

from aftercommit.stores.sql import SqlStore
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.backend import backend_for
from aftercommit.stores.sql.schema import metadata
from tests.builders import T0
from tests.servers.databases import FreshDatabase


def empty_places(database: AbstractContextManager[FreshDatabase], **options: str) -> Iterator["Places"]:
    """The body of a fixture of wider scope: a database with our schema."""
    with database as fresh:
        address = Address.parse(fresh.url() + ("?" if options else "") + "&".join(map("=".join, options.items())))
        asyncio.run(_set_up(address))
        yield Places(address)


class Places:
    """One database, empty whenever somebody asks for it."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def empty(self) -> Address:
        """The address of the database, with nothing in it."""
        asyncio.run(_empty(self.address))
        return self.address


async def _set_up(address: Address) -> None:
    store = SqlStore(address, chance=lambda: 0.0, migrate=True)
    await store.open(T0)
    await store.close()


async def _empty(address: Address) -> None:
    session = await backend_for(address).connector(10.0)()
    await session.begin()
    for table in metadata(address.dialect).tables:
        if table != "fact":
            await session.run(f"DELETE FROM {table}")
    await session.run("UPDATE fact SET value = CASE name WHEN 'next_id' THEN 1 ELSE 0 END")
    await session.commit()
    session.terminate()
