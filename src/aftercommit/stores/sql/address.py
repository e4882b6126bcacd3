"""Where a database is, as its users write it: `postgresql://user:password@host:5432/name?sslmode=require`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from aftercommit.domain.errors import ConfigurationError

Dialect: TypeAlias = Literal["postgresql", "mysql"]

DIALECTS: Final[dict[str, Dialect]] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
PORTS: Final[dict[Dialect, int]] = {"postgresql": 5432, "mysql": 3306}
# What may follow the `?`, and the values that it may have. Anything else is refused: a misspelt `sslmode` that was
# quietly left out would send passwords in clear.
OPTIONS: Final[dict[Dialect, dict[str, tuple[str, ...]]]] = {
    "postgresql": {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "pooler": ("transaction",),
    },
    "mysql": {"driver": ("asyncmy", "aiomysql")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database on a server. Everything is as it is, not as it is escaped in a URL."""

    dialect: Dialect
    host: str
    port: int
    user: str
    password: str | None = field(default=None, repr=False)
    database: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address that `url` says. Raises `ConfigurationError`, which never shows any part of a password."""
        scheme, separator, _ = url.partition("://")
        dialect = DIALECTS.get(scheme.lower())
        if dialect is None or not separator:
            raise ConfigurationError(
                "The database's address must begin with postgresql://, postgres://, mysql:// or mariadb://."
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # The parser's own words quote what it stumbled over, which may be half a password.
            raise _unreadable(dialect, "its host or port cannot be read") from None
        if not parts.hostname or not parts.username:
            raise _unreadable(dialect, "it needs a user and a host")
        return cls(
            dialect=dialect,
            host=unquote(parts.hostname),
            port=PORTS[dialect] if port is None else port,
            user=unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            database=_database(parts, dialect),
            options=_options(parts.query, dialect),
        )

    @property
    def shown(self) -> str:
        """The address for logs and errors, without the password and the options."""
        return f"{self.dialect}://{quote(self.user, safe='')}@{self._place}"

    @property
    def sqlalchemy_url(self) -> str:
        """The address as SQLAlchemy's asyncio engine takes it, with the password: not to be shown."""
        password = "" if self.password is None else f":{quote(self.password, safe='')}"
        query: dict[str, str] = {}
        if self.dialect == "postgresql":
            driver = "asyncpg"
            if "sslmode" in self.options:
                query["ssl"] = self.options["sslmode"]
            if "pooler" in self.options:
                # Prepared statements belong to a server connection, and the next transaction may get another one.
                query["prepared_statement_cache_size"] = "0"
        else:
            driver = self.options.get("driver", "asyncmy")
            query["charset"] = "utf8mb4"
        options = f"?{urlencode(query)}" if query else ""
        return f"{self.dialect}+{driver}://{quote(self.user, safe='')}{password}@{self._place}{options}"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{quote(self.database, safe='')}"


def _database(parts: SplitResult, dialect: Dialect) -> str:
    name = parts.path.removeprefix("/")
    if not name:
        raise _unreadable(dialect, "it names no database")
    if "/" in name or "@" in name or parts.fragment:
        raise _unreadable(dialect, "something follows the database's name")
    return unquote(name)


def _options(query: str, dialect: Dialect) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = OPTIONS[dialect]
    if not options.keys() <= known.keys():
        raise _unreadable(dialect, f"after the ? it may have {' and '.join(known)} only")
    for name, value in options.items():
        if value not in known[name]:
            raise _unreadable(dialect, f"its {name} must be one of {', '.join(known[name])}")
    return options


def _unreadable(dialect: Dialect, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The database's address is wrong: {why}. Write {dialect}://user:password@host:{PORTS[dialect]}/name, and"
        " in the password %23 for #, %2F for /, %3F for ?, %40 for @."
    )
