"""Settings: a file, overlaid by the environment, overlaid by flags. Every problem is reported at once."""

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from aftercommit.domain.errors import ConfigurationError

ENVIRONMENT_PREFIX: Final = "AFTERCOMMIT_"
ROLES: Final = ("api", "dispatch", "check", "redeliver", "retention")
# Environment variables that are the command line's own, not the node's.
NOT_SETTINGS: Final = frozenset({"config", "url", "app", "key"})
_SQLITE: Final = "sqlite"
_SERVERS: Final = ("postgresql", "postgres", "mysql", "mariadb")
_DATABASE_HELP: Final = (
    "database is {}; it must be sqlite:///path, postgresql://user:password@host:port/name or"
    " mysql://user:password@host:port/name."
)
BUILT_IN_BROKER: Final = "memory://"
_NATS: Final = ("nats", "tls")
_BROKERS_NOT_YET: Final = ("amqp", "amqps", "kafka", "redis", "rediss")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to run a node."""

    host: str = "127.0.0.1"
    port: int = 8340
    database: str = "sqlite:///aftercommit.db"
    broker: str = BUILT_IN_BROKER
    workers: int = 1
    roles: tuple[str, ...] = ROLES
    log_level: str = "info"
    log_format: str = "console"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file that this node alone uses."""
        return urlsplit(self.database).scheme == _SQLITE

    @property
    def database_path(self) -> Path:
        """The file of a SQLite database. `sqlite:///x.db` is relative, `sqlite:////x.db` absolute."""
        return Path(unquote(urlsplit(self.database).path.removeprefix("/")))


def load_settings(*, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings in force. Raises `ConfigurationError` that lists everything wrong with them."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for source, layer in (
        ("the configuration file", _from_file(file, problems)),
        ("the environment", _from_environment(environment)),
        ("the command line", {name: value for name, value in flags.items() if value is not None}),
    ):
        for name, value in layer.items():
            if name in Settings.__struct_fields__:
                values[name] = value
            else:
                problems.append(f"{source} sets {name!r}, which is no setting.")
    settings = _read(values, problems)
    problems += _problems(settings)
    if problems:
        raise ConfigurationError("The settings are wrong:\n" + "\n".join(f"  - {each}" for each in problems))
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_file(file: Path | None, problems: list[str]) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"the configuration file {file} cannot be read: {error.strerror}.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"the configuration file {file} is not TOML: {error}.")
    return {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
        and name.removeprefix(ENVIRONMENT_PREFIX).lower() not in NOT_SETTINGS
        and not name.startswith("AFTERCOMMIT_TEST_")
    }


def _read(values: Mapping[str, object], problems: list[str]) -> Settings:
    """Each value on its own, so that one wrong value does not hide the next."""
    good: dict[str, object] = {}
    for name, value in values.items():
        plain = _listed(value) if name == "roles" and isinstance(value, str) else value
        try:
            read = msgspec.convert({name: plain}, Settings, strict=False)
        except msgspec.ValidationError:
            problems.append(f"{name} is {value!r}, which is not {Settings.__annotations__[name]!r}.")
        else:
            good[name] = getattr(read, name)
    return msgspec.convert(good, Settings)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _problems(settings: Settings) -> list[str]:
    problems = []
    if not 0 <= settings.port <= 65535:
        problems.append(f"port is {settings.port}; it must be from 0 to 65535.")
    problems += _database_problems(settings)
    problems += _broker_problems(settings)
    unknown = [role for role in settings.roles if role not in ROLES]
    if unknown or not settings.roles:
        problems.append(f"roles is {','.join(settings.roles)!r}; it must be a list of {', '.join(ROLES)}.")
    if settings.log_format not in ("console", "json"):
        problems.append(f"log_format is {settings.log_format!r}; it must be console or json.")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        problems.append(f"log_level is {settings.log_level!r}; it must be debug, info, warning or error.")
    if not is_loopback(settings.host):
        problems.append(
            f"host is {settings.host!r}: without keys the service listens on loopback addresses only, because every"
            " caller has every role. Put it behind something that authenticates, on 127.0.0.1."
        )
    return problems


def _database_problems(settings: Settings) -> list[str]:
    # A password may stand in it, so that the whole is shown only of a file's.
    scheme = settings.database.partition(":")[0][:20]
    if scheme in _SERVERS:
        if settings.workers < 1:
            return [f"workers is {settings.workers}; it must be 1 or more."]
        return [] if _names_a_database(settings.database) else [_DATABASE_HELP.format(f"a {scheme} address")]
    if scheme != _SQLITE:
        return [_DATABASE_HELP.format(f"a {scheme!r} address")]
    if not settings.database_path.name:
        return [f"database is {settings.database!r}, which names no file; use sqlite:///aftercommit.db."]
    if settings.workers != 1:
        return [f"workers is {settings.workers}; a SQLite database has one writer, so that it must be 1."]
    return []


def _names_a_database(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.username and parts.path.strip("/")) and parts.port != 0
    except ValueError:
        return False


def _broker_problems(settings: Settings) -> list[str]:
    if settings.broker == BUILT_IN_BROKER:
        return []
    # A password may stand in it, so that the whole is never shown.
    scheme = settings.broker.partition("://")[0][:20]
    if scheme in _BROKERS_NOT_YET:
        return [f"broker is a {scheme}:// address; this version has memory:// and nats://host:port only."]
    if all(_is_nats(each) for each in settings.broker.split(",")):
        return []
    return [
        f"broker is a {scheme!r} address; it must be memory:// or nats://host:port (tls:// with TLS; several of a"
        " cluster joined by commas)."
    ]


def _is_nats(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _NATS and bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        # A port that is no number, or half an address in brackets.
        return False
