"""The schema's versions (for now: the tables as they are described)."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.schema import PARTITIONED, metadata


async def require_known_schema(address: Address, *, migrate: bool) -> None:
    """Make the tables."""
    if not migrate:
        return
    engine = create_async_engine(address.sqlalchemy_url)
    tables = metadata(address.dialect)
    async with engine.begin() as connection:
        await connection.run_sync(tables.create_all)
        if address.dialect == "postgresql":
            for each in PARTITIONED:
                await connection.execute(text(f"CREATE TABLE IF NOT EXISTS {each}_rest PARTITION OF {each} DEFAULT"))
        found = (await connection.execute(text("SELECT count(*) FROM fact"))).scalar()
        if not found:
            await connection.execute(
                text("INSERT INTO fact (name, value) VALUES ('next_id', 1), ('catalog', 0), ('pings', 0)")
            )
    await engine.dispose()
