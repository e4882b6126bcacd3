"""A database of its own for one test."""

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FreshDatabase:
    """An empty database on a throw-away server, and how to reach it.

    `scheme` is what a URL begins with: `postgresql` or `mysql`.
    """

    scheme: str
    host: str
    port: int
    user: str
    password: str
    name: str

    def url(self, driver: str = "") -> str:
        """The address as SQLAlchemy writes it: `url("psycopg")` is `postgresql+psycopg://...`.

        Without a driver it is the plain address, which psycopg and asyncpg take as it is.
        """
        scheme = f"{self.scheme}+{driver}" if driver else self.scheme
        return f"{scheme}://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"


def unique_name() -> str:
    """A database name that nobody used before; letters and digits only."""
    return f"test_{secrets.token_hex(6)}"
