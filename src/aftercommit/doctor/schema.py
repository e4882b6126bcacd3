"""Whether the tables are there, and are those of this version."""

from collections.abc import Collection

from aftercommit.doctor.finding import Verdict, error, ok, warning
from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql.address import Address
from aftercommit.stores.sql.migrate import require_known_schema
from aftercommit.stores.sql.schema import metadata


async def schema_verdict(address: Address, there: Collection[str]) -> Verdict:
    """`there`: those of our tables that the database has."""
    ours = metadata(address.dialect).tables
    if not there:
        return warning("There are no tables yet.", "Run `aftercommit migrate`.")
    try:
        await require_known_schema(address)
    except ConfigurationError as problem:
        return error(str(problem), "A node does not start on it.")
    missing = sorted(set(ours) - set(there))
    if missing:
        return error(f"Tables were removed: {', '.join(missing)}.", "Restore them from a backup.")
    return ok(f"All {len(ours)} tables are there, and are this version's.")
