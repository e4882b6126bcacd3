"""Who calls: the seam where keys and roles come in, and what stands there on a node without keys."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

from aftercommit.api.call import Headers
from aftercommit.domain.errors import Invalid
from aftercommit.service.caller import Caller

# Raises `CallerError` where the headers name nobody who may call.
Authenticate: TypeAlias = Callable[[Headers], Caller]

APP_HEADER: Final = b"aftercommit-app"
DEFAULT_APP: Final = "default"
_APP_NAME: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EVERYBODY: Final = Caller(app=DEFAULT_APP, wide=True)


def without_keys(headers: Headers) -> Caller:
    """The caller on a node without keys: whoever the header names. Without it, the operator of everything.

    `Authorization` is ignored here: a client that has a key works against a node that knows none.
    """
    name = headers.get(APP_HEADER)
    return _EVERYBODY if name is None else _named(name)


@lru_cache(maxsize=1024)
def _named(name: bytes) -> Caller:
    if not _APP_NAME.fullmatch(name):
        raise Invalid("invalid_app", f"AfterCommit-App must be a name of the form {_APP_NAME.pattern.decode()}.")
    return Caller(app=name.decode("ascii"))
