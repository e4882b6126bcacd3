"""Who calls."""

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """The application a request speaks for.

    `wide`: it may read and operate on every application's messages (the operator of a node without keys). What only an
    initiator or a consumer may say is bound to the application all the same.
    """

    app: str
    wide: bool = False
