"""Names and ids that no other test uses."""

import os
import time
import uuid

DAY_SECONDS = 24 * 3600


def fresh(prefix: str) -> str:
    """A name nobody had before."""
    return f"{prefix}{uuid.uuid4().hex[:12]}"


def new_id(made_seconds_ago: float = 0) -> str:
    """A UUIDv7 made now, or at another time, as the protocol writes ids."""
    milliseconds = int((time.time() - made_seconds_ago) * 1000)
    random_bits = int.from_bytes(os.urandom(10))
    value = (
        milliseconds << 80 | 0x7 << 76 | (random_bits >> 68 & 0xFFF) << 64 | 0b10 << 62 | random_bits & (1 << 62) - 1
    )
    return str(uuid.UUID(int=value))
