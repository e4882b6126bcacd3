"""Addresses of databases, as users write them."""

import pytest

from aftercommit.domain.errors import ConfigurationError
from aftercommit.stores.sql.address import Address


def test_a_whole_address_is_read() -> None:
    read = Address.parse(
        "postgresql://anna:p%40ss%2F%25@db.example:6432/shop%2Fone?sslmode=verify-full&pooler=transaction"
    )

    assert read == Address(
        dialect="postgresql",
        host="db.example",
        port=6432,
        user="anna",
        password="p@ss/%",
        database="shop/one",
        options={"sslmode": "verify-full", "pooler": "transaction"},
    )


@pytest.mark.parametrize(
    ("url", "dialect", "port"),
    [
        ("postgresql://anna@db/shop", "postgresql", 5432),
        ("postgres://anna@db/shop", "postgresql", 5432),
        ("mysql://anna@db/shop", "mysql", 3306),
        ("mariadb://anna@db/shop", "mysql", 3306),
    ],
)
def test_each_scheme_has_its_dialect_and_port(url: str, dialect: str, port: int) -> None:
    read = Address.parse(url)

    assert (read.dialect, read.port, read.password, read.options) == (dialect, port, None, {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop",
        "sqlite:///shop.db",
        "oracle://anna:hidden@db/shop",
        "postgresql:anna:hidden@db/shop",
        "postgresql://anna:hidden@db",
        "postgresql://anna:hidden@db/",
        "postgresql://anna:hidden@/shop",
        "postgresql://:hidden@db/shop",
        "postgresql://db/shop",
        "postgresql://anna:hidden@db:port/shop",
        "postgresql://anna:hidden@db:99999/shop",
        "postgresql://anna:hidden@db/shop/more",
        "postgresql://anna:hid#den@db/shop",
        "postgresql://anna:hid[den@db/shop",
        "postgresql://anna:hid/den@db/shop",
        "postgresql://anna:hid?den@db/shop",
        "postgresql://me@anna:12/hidden@db",
        "postgresql://me@anna:12/shop?hidden@db",
        "postgresql://anna:hidden@db/shop?ssl_mode=require",
        "postgresql://anna:hidden@db/shop?sslmode=required",
        "mysql://anna:hidden@db/shop?sslmode=require",
        "mysql://anna:hidden@db/shop?driver=os",
    ],
)
def test_a_wrong_address_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database's address") as refused:
        Address.parse(url)

    assert "hid" not in str(refused.value)
    assert "den" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_what_is_shown_has_no_password() -> None:
    address = Address.parse("mysql://anna:hidden@[::1]:3307/shop")

    assert address.shown == "mysql://anna@[::1]:3307/shop"
    assert "hidden" not in repr(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://a%3Ab:p%40%2F@db/shop", "postgresql+asyncpg://a%3Ab:p%40%2F@db:5432/shop"),
        ("postgresql://anna@[::1]/shop?sslmode=require", "postgresql+asyncpg://anna@[::1]:5432/shop?ssl=require"),
        ("mariadb://anna:x@db/shop", "mysql+asyncmy://anna:x@db:3306/shop?charset=utf8mb4"),
        ("mysql://anna@db/shop?driver=aiomysql", "mysql+aiomysql://anna@db:3306/shop?charset=utf8mb4"),
    ],
)
def test_sqlalchemy_gets_its_own_form(url: str, expected: str) -> None:
    assert Address.parse(url).sqlalchemy_url == expected


def test_a_pooler_of_transactions_forbids_prepared_statements() -> None:
    url = Address.parse("postgresql://anna@db/shop?pooler=transaction").sqlalchemy_url

    assert "prepared_statement_cache_size=0" in url
