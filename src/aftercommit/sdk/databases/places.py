"""The `?` of our statements as a driver wants it."""

import re
from functools import lru_cache
from itertools import count


@lru_cache(maxsize=256)
def format_places(statement: str) -> str:
    """`%s`, for psycopg and MySQL's drivers; a percent sign of the statement's own is doubled."""
    return statement.replace("%", "%%").replace("?", "%s")


@lru_cache(maxsize=256)
def numbered_places(statement: str) -> str:
    """`$1`, `$2`, ... for asyncpg."""
    numbers = count(1)
    return re.sub(r"\?", lambda _place: f"${next(numbers)}", statement)
