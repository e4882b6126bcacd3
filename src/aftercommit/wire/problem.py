"""Refusals."""

from aftercommit.wire.shape import Answer


class Problem(Answer, frozen=True):
    """RFC 9457 `application/problem+json`. `code` is stable. `pointer` is a JSON Pointer to the field at fault,
    `message_status` the status that stood in the way.
    """

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    pointer: str | None = None
    message_status: str | None = None
