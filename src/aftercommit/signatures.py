"""Signing and verifying HTTP messages by the symmetric scheme of Standard Webhooks (standardwebhooks.com).

Signed is `{webhook-id}.{webhook-timestamp}.{body}` with HMAC-SHA256. Used in both directions: the service signs what it
sends, initiators sign what they answer, consumers verify what is pushed to them. Verify before parsing.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
TOLERANCE_SECONDS: Final = 300
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64

_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the mark of a secret, not one
_VERSION: Final = "v1"
# Printable, and without the full stop that separates what is signed.
_MESSAGE_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class BadSignature(Exception):
    """What arrived was not signed, in time, by anybody who has the secret. The sentence says what was wrong."""


class BadSecret(ValueError):
    """A secret is not one of ours. The sentence does not repeat it."""


def new_secret(random_bytes: bytes) -> str:
    """A secret made of 24 to 64 random bytes, as it is shown and stored. Raises `BadSecret` for another length."""
    _require_length(random_bytes)
    return _SECRET_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature per secret, so that a rotation breaks nobody.

    `timestamp` is in seconds since 1970. Raises `BadSecret`, and `ValueError` for no secrets or an id that cannot be
    signed unambiguously.
    """
    if not secrets:
        raise ValueError("Nothing can be signed without a secret.")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(f"The id {message_id!r} cannot be signed: 1 to 256 printable characters, no full stop.")
    digests = (_digest(secret, message_id, str(timestamp), body) for secret in secrets)
    return " ".join(f"{_VERSION},{base64.b64encode(digest).decode('ascii')}" for digest in digests)


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now_seconds: int,
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> None:
    """Raise `BadSignature` unless one of `secrets` signed exactly this within `tolerance_seconds` of now, either way.

    `headers` has lower-case names. `body` is the raw body. One good signature among several is enough. Raises
    `BadSecret` for a secret that is not one of ours: that is no fault of the sender's.
    """
    message_id = headers.get(ID_HEADER, "")
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    signatures = headers.get(SIGNATURE_HEADER, "")
    if not (message_id and timestamp and signatures):
        raise BadSignature(f"It is not signed: {ID_HEADER}, {TIMESTAMP_HEADER} and {SIGNATURE_HEADER} are needed.")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise BadSignature(f"{ID_HEADER} is not 1 to 256 printable characters without a full stop.")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise BadSignature(f"{TIMESTAMP_HEADER} is not a number of seconds.")
    if abs(int(timestamp) - now_seconds) > tolerance_seconds:
        raise BadSignature(f"It was signed more than {tolerance_seconds} seconds before or after now.")
    given = [value for version, _, value in (each.partition(",") for each in signatures.split()) if version == _VERSION]
    if not given:
        raise BadSignature(f"{SIGNATURE_HEADER} has no {_VERSION} signature.")
    expected = [base64.b64encode(_digest(secret, message_id, timestamp, body)) for secret in secrets]
    # Every pair is compared, so that the time taken does not tell which secret came close.
    matches = [hmac.compare_digest(ours, _as_bytes(theirs)) for ours in expected for theirs in given]
    if not any(matches):
        raise BadSignature("None of its signatures was made with the secret.")


def _digest(secret: str, message_id: str, timestamp: str, body: bytes) -> bytes:
    signed = b".".join((message_id.encode("ascii"), timestamp.encode("ascii"), body))
    return hmac.digest(_key(secret), signed, hashlib.sha256)


def _key(secret: str) -> bytes:
    if not secret.startswith(_SECRET_PREFIX):
        raise BadSecret(f"A signing secret begins with {_SECRET_PREFIX}; this one does not.")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret(f"A signing secret is {_SECRET_PREFIX} and base64; this one is not base64.") from None
    _require_length(key)
    return key


def _require_length(key: bytes) -> None:
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise BadSecret(f"A signing secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes; this one {len(key)}.")


def _as_bytes(signature: str) -> bytes:
    # A header may hold anything; comparing text that is not ASCII would raise.
    return signature.encode("utf-8", errors="replace")
