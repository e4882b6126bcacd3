"""A message as a consumer holds it, however it came: pulled, pushed over HTTP, or through a broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

import msgspec

from aftercommit.sdk.messages import PulledMessage

_OWN: Final = "aftercommit-"
# What the service and its transports add; the rest are the publisher's own headers.
_ADDED: Final = (_OWN, "ce-", "ce_", "cloudevents:", "cloudevents_", "webhook-", "nats-")
_ADDED_NAMES: Final = frozenset({"content-type", "content-length", "host", "user-agent", "accept", "accept-encoding"})


class NotOurs(ValueError):
    """What arrived was not sent by AfterCommit: it has no `aftercommit-id`.

    try:
        delivery = Delivery.received(message.headers, message.body)
    except NotOurs:
        print("Somebody else sends to this queue, too.")
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message for one subscription, on one of its attempts (1, 2, ...).

    `body` is the payload, byte for byte as it was published. `headers` are the publisher's own, and `traceparent`.
    `meant_for` names the subscriptions a redelivery is for; empty: all of them.

        delivery = Delivery.received(message.headers, message.body)
        print(delivery.id, delivery.attempt, delivery.json()["order"])
    """

    id: str
    topic: str
    body: bytes
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    attempt: int = 1
    app: str | None = None
    meant_for: tuple[str, ...] = ()

    @classmethod
    def pulled(cls, message: PulledMessage) -> Self:
        """Of what a pull brought."""
        return cls(
            id=message.id,
            topic=message.topic,
            body=message.body,
            key=message.key,
            headers=MappingProxyType(dict(message.headers)),
            content_type=message.content_type,
            attempt=message.attempt,
        )

    @classmethod
    def received(cls, headers: Mapping[str, Any], body: bytes) -> Self:
        """Of headers and body as a broker or an HTTP request carries them; values may be text or bytes.

        Raises `NotOurs` without `aftercommit-id`.

            Delivery.received(message.headers, message.body)
        """
        texts = {name.lower(): _text(value) for name, value in headers.items()}
        if not texts.get(_OWN + "id"):
            raise NotOurs("It has no header aftercommit-id, so it is not a message of AfterCommit.")
        attempt = texts.get(_OWN + "attempt", "")
        return cls(
            id=texts[_OWN + "id"],
            topic=texts.get(_OWN + "topic", ""),
            body=bytes(body),
            key=texts.get(_OWN + "key") or None,
            headers=MappingProxyType({name: value for name, value in texts.items() if not _is_added(name)}),
            content_type=texts.get("content-type", "application/octet-stream"),
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 1,
            app=texts.get(_OWN + "app") or None,
            meant_for=tuple(filter(None, (each.strip() for each in texts.get(_OWN + "for", "").split(",")))),
        )

    def is_for(self, subscription: str) -> bool:
        """Whether it concerns this subscription: a redelivery may be meant for others of the same queue."""
        return not self.meant_for or subscription in self.meant_for

    def json(self, type: Any = Any) -> Any:  # noqa: A002 - the word msgspec uses for the same thing
        """The payload decoded from JSON, into `type` if given. Raises `msgspec.DecodeError` if it is not that."""
        return msgspec.json.decode(self.body, type=type)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_added(name: str) -> bool:
    return name in _ADDED_NAMES or name.startswith(_ADDED)
