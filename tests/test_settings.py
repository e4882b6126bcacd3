"""Settings: where they come from, which wins, and what is said when they are wrong."""

from pathlib import Path

import pytest

from aftercommit.domain.errors import ConfigurationError
from aftercommit.settings import ROLES, Settings, is_loopback, load_settings


def load(file: Path | None = None, environment: dict[str, str] | None = None, **flags: object) -> Settings:
    """The settings from these sources."""
    return load_settings(file=file, environment=environment or {}, flags=flags)


def complaint(**sources: object) -> str:
    """What is said about wrong settings."""
    with pytest.raises(ConfigurationError) as raised:
        load(**sources)  # type: ignore[arg-type]
    return str(raised.value)


def test_the_defaults_are_an_embedded_node_on_loopback() -> None:
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8340)
    assert settings.database_path == Path("aftercommit.db")
    assert settings.roles == ROLES


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nhost = "127.0.0.2"\nlog_level = "error"\n')
    environment = {"AFTERCOMMIT_PORT": "2", "AFTERCOMMIT_HOST": "127.0.0.3", "HOME": "/"}
    settings = load(file, environment, port=3, host=None)
    assert (settings.port, settings.host, settings.log_level) == (3, "127.0.0.3", "error")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:///dir/a.db", "dir/a.db"),
        ("sqlite:////var/lib/a.db", "/var/lib/a.db"),
        ("sqlite:///with%20space.db", "with space.db"),
    ],
)
def test_a_database_url_names_a_file(url: str, path: str) -> None:
    assert load(database=url).database_path == Path(path)


def test_roles_may_be_listed_in_one_word() -> None:
    assert load(environment={"AFTERCOMMIT_ROLES": "api, dispatch"}).roles == ("api", "dispatch")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prot = 1\n")
    said = complaint(
        file=file,
        environment={"AFTERCOMMIT_PORT": "many", "AFTERCOMMIT_NONSENSE": "1"},
        host="0.0.0.0",
        broker="amqp://localhost",
        roles="api,cook",
        log_level="loud",
    )
    for word in ("prot", "nonsense", "port", "0.0.0.0", "amqp://", "cook", "loud"):
        assert word in said, said


def test_a_wrong_value_is_not_taken_for_its_default() -> None:
    assert "port is 70000" in complaint(port=70000)


@pytest.mark.parametrize(
    "url", ["oracle://me@host/db", "postgresql://host/db", "mysql://me@host", "postgresql://me@host:0/db", "x.db"]
)
def test_a_database_that_is_none_of_ours_is_refused(url: str) -> None:
    assert "database" in complaint(database=url)


def test_the_password_of_a_database_is_not_shown() -> None:
    assert "secret" not in complaint(database="postgresql://me:secret@/db")


@pytest.mark.parametrize(
    "url", ["postgresql://me@host/db", "postgres://me@h:1/db", "mysql://me:x@h/db", "mariadb://m@h/d"]
)
def test_databases_that_nodes_share_may_have_several_workers(url: str) -> None:
    settings = load_settings(file=None, environment={}, flags={"database": url, "workers": 4})
    assert (settings.is_embedded, settings.workers) == (False, 4)


def test_sqlite_has_one_worker() -> None:
    assert "one writer" in complaint(workers=2)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "missing.toml" in complaint(file=tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    assert "not TOML" in complaint(file=broken)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "nats://127.0.0.1:4222",
        "nats://broker",
        "tls://me:secret@broker:4222",
        "nats://a:4222,nats://b:4222",
    ],
)
def test_a_broker_this_version_can_use_is_taken(url: str) -> None:
    assert load(environment={"AFTERCOMMIT_BROKER": url}).broker == url


@pytest.mark.parametrize(
    "url",
    [
        "kafka://me:secret@broker:9092",
        "amqp://me:secret@broker",
        "redis://broker",
        "nats://",
        "nats://me:secret@broker:port",
        "nats://broker:4222/path",
        "nats://a:4222,kafka://b",
        "broker",
        "",
    ],
)
def test_a_broker_this_version_cannot_use_is_refused_without_showing_a_password(url: str) -> None:
    said = complaint(broker=url)
    assert "broker is a" in said
    assert "secret" not in said
