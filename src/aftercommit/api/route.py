"""One entry of the route table: everything the server and the OpenAPI document need to know about a call."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, Generic, TypeAlias, TypeVar

import msgspec

from aftercommit.api.answers import Answer
from aftercommit.api.call import Call, Context

Body = TypeVar("Body")
Handler: TypeAlias = Callable[[Context, Call[Body]], Awaitable[Answer]]

SINGLE_BODY_MAX: Final = 1024 * 1024
BATCH_BODY_MAX: Final = 8 * 1024 * 1024


class Tag(StrEnum):
    """The chapters of the documentation, in their order."""

    INITIATORS = "initiators"
    CONSUMERS = "consumers"
    BATCHES = "batches"
    READING = "reading"
    OPERATING = "operating"
    TOPICS = "topics"
    APPLICATIONS = "applications"
    CHECKS = "check-back"
    NODE = "node"


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of the query string. `kind` is a JSON Schema type."""

    name: str
    summary: str
    kind: str = "string"


class Route(msgspec.Struct, Generic[Body], frozen=True, kw_only=True):
    """A call: where, what goes in, what comes out, who answers.

    `items` is the shape of a batch's items. `answer` is the shape of a JSON answer, or None where `media_type` says
    what comes instead (None too: nothing). `created`: the answer may also be 201. `problems` are the codes this call
    may be refused with, beyond those that every call shares. `precheck` may refuse a body before it is decoded.
    """

    method: str
    path: str
    summary: str
    tag: Tag
    handler: Handler[Body]
    body: type[Body]
    items: type | None = None
    answer: type | None = None
    status: int = 200
    created: bool = False
    media_type: str | None = "application/json"
    query: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()
    body_max: int = SINGLE_BODY_MAX
    precheck: Callable[[bytes], None] | None = None

    @property
    def takes_body(self) -> bool:
        """Whether a request body is read at all."""
        return self.body is not NoBody

    @property
    def is_api(self) -> bool:
        """Whether it is part of the API, where a caller is named, and not a page of the node itself."""
        return self.path.startswith("/v1/")


class NoBody(msgspec.Struct, frozen=True):
    """Stands where a call has no body. One that is sent all the same is not looked at."""


NO_BODY: Final = NoBody()
