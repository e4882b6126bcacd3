"""Keeping web pages away from a node without keys: it trusts whoever reaches loopback, and browsers reach it."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aftercommit.api.call import Headers
from aftercommit.api.problems import Rejected

# Raises `Rejected` for a request that must not be served at all. Looks at every request, before anything else.
Guard: TypeAlias = Callable[[str, Headers], None]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def guard_loopback(method: str, headers: Headers) -> None:
    """Refuse foreign host names (DNS rebinding), and changes asked for by pages of other sites.

    HTTP/1.0 clients may leave the host out; no browser does.
    """
    host = headers.get(b"host")
    if host is not None and not _is_loopback(host):
        raise Rejected(
            "forbidden_host", "This node has no keys and answers only to localhost or a loopback address as its host."
        )
    if method not in _SAFE_METHODS and _is_foreign(headers, host):
        raise Rejected("cross_site", "A page of another site may not change anything here.")


def admit_all(method: str, headers: Headers) -> None:
    """Let every request pass: a node with keys asks for the key instead."""


@lru_cache(maxsize=256)
def _is_loopback(host: bytes) -> bool:
    try:
        name = urlsplit(b"//" + host).hostname
        if name is None or b"@" in host:
            return False
        return name == b"localhost" or ip_address(name.decode("ascii")).is_loopback
    except ValueError:
        return False


def _is_foreign(headers: Headers, host: bytes | None) -> bool:
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"cross-site"
    # Browsers that do not send it do send Origin with what changes something.
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != host
