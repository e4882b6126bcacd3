"""How patient the server is with a connection."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`receive_seconds`: from the first byte of a request to its last, and until the first byte of a new connection.

    `idle_seconds`: between requests. `linger_seconds`: how long a client may still send what nobody reads, so that it
    comes to read its answer. Beyond `connections_max` a request is answered 503; beyond twice as many, cut off.
    `head_bytes_max`: request line and headers. `stop_seconds`: for what runs when the server stops.
    """

    receive_seconds: float = 10.0
    idle_seconds: float = 75.0
    linger_seconds: float = 2.0
    connections_max: int = 4096
    head_bytes_max: int = 32 * 1024
    head_fields_max: int = 100
    url_bytes_max: int = 8 * 1024
    stop_seconds: float = 10.0
