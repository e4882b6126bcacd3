"""What initiators and consumers say, one by one and in batches."""

from msgspec import UNSET, Raw, UnsetType

from aftercommit.wire.shape import Answer, Request


class PrepareRequest(Request, frozen=True):
    """`POST /v1/messages`. Exactly one of `payload` (any JSON value, kept byte for byte) and `payload_base64`."""

    topic: str
    id: str | None = None
    payload: Raw | UnsetType = UNSET
    payload_base64: str | None = None
    content_type: str | None = None
    key: str | None = None
    headers: dict[str, str] | None = None
    delay_seconds: float | None = None
    deliver_at: str | None = None
    check_after_seconds: float | None = None
    check_hint: str | None = None
    confirmed: bool = False


class ConfirmRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/confirm`."""


class CancelRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/cancel`."""

    reason: str | None = None


class MessageStatus(Answer, frozen=True):
    """The answer of every verb: the message and its present status."""

    id: str
    status: str


class CompleteRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/complete`."""

    subscription: str | None = None


class FailRequest(Request, frozen=True):
    """`POST /v1/messages/{id}/fail`."""

    reason: str
    subscription: str | None = None


class PullRequest(Request, frozen=True):
    """`POST /v1/topics/{topic}/subscriptions/{name}/pull`. Waits up to `wait_seconds` while there is nothing."""

    max: int = 1
    wait_seconds: float = 0


class PulledMessage(Answer, frozen=True, omit_defaults=False):
    """One delivery attempt. `payload` or `payload_base64`, as it was prepared."""

    id: str
    topic: str
    key: str | None
    headers: dict[str, str]
    content_type: str
    attempt: int
    sent_at: str | None
    payload: Raw | UnsetType = UNSET
    payload_base64: str | UnsetType = UNSET


class PullAnswer(Answer, frozen=True):
    """What a pull brought, perhaps nothing."""

    messages: list[PulledMessage]


class BatchRequest(Request, frozen=True):
    """`POST /v1/batch/{verb}`: items are read one by one, so that a bad one spoils no other."""

    items: list[Raw]


class ConfirmItem(Request, frozen=True):
    """One confirm, or one status question, of a batch."""

    id: str


class CancelItem(Request, frozen=True):
    """One cancel of a batch."""

    id: str
    reason: str | None = None


class CompleteItem(Request, frozen=True):
    """One complete of a batch."""

    id: str
    subscription: str | None = None


class FailItem(Request, frozen=True):
    """One fail of a batch."""

    id: str
    reason: str
    subscription: str | None = None


class ItemError(Answer, frozen=True):
    """Why one item of a batch was refused. `status` is the message's, where it stood in the way."""

    code: str
    detail: str
    status: str | None = None


class ItemResult(Answer, frozen=True):
    """One item's answer: `status`, or `error`."""

    id: str | None = None
    status: str | None = None
    error: ItemError | None = None


class BatchAnswer(Answer, frozen=True):
    """One result per item, in order."""

    results: list[ItemResult]
