"""What a call can end in instead of an answer.

AfterCommitClientError
├── Refused                the service said no, for good: change something (`code` is stable)
│   ├── Invalid            malformed, or well-formed but wrong; `pointer` names the field
│   ├── Denied             no key, a wrong key, or a key without the role
│   ├── NotFound           does not exist, or not for this application
│   └── Conflict           the present state stands in the way; `message_status` is that state
│       ├── RolledBack         prepare or confirm of a message that was rolled back
│       ├── AlreadyConfirmed   cancel of a message that was confirmed
│       ├── NotDelivered       a report on a message that was never delivered
│       ├── IdConflict         prepare of other content under an id that is taken
│       └── InvalidTransition  anything else the status does not allow
├── Unavailable            the service cannot do it now and changed nothing: try again after `retry_after_seconds`
├── Unreachable            no answer came; `perhaps_received` and `repeatable` say what that means
└── Unexpected             an answer the protocol does not know: another program answered, or a bug

The client has already repeated what may be repeated when `Unavailable` or `Unreachable` is raised. Every error says
which call failed (`step`) and whether the caller may go on as if it had not (`safe_to_ignore`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from aftercommit.wire import ItemError, Problem

# What settles a step that got no answer, so that it may be ignored. None: nothing does.
_SETTLED_BY: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "prepare": None,
        "confirm": "check-back will settle it",
        "cancel": "check-back will settle it",
        "complete": "the message will be delivered, and can be reported, again",
        "fail": "the message will be delivered, and can be reported, again",
    }
)


class AfterCommitClientError(Exception):
    """The root of everything the SDK raises about a call. `detail` is a sentence.

    `step` is the call that failed: "prepare", "confirm", "cancel", "complete", "fail", "pull" and so on; None where
    that is not known.

        try:
            client.confirm(message_id)
        except AfterCommitClientError as error:
            if not error.safe_to_ignore:
                raise
    """

    # Whether nothing was decided, so that a later attempt of the service can still go well.
    _left_open: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.step: str | None = None

    @property
    def safe_to_ignore(self) -> bool:
        """Whether check-back or redelivery will settle what failed, without the caller.

        True for a confirm, cancel, complete or fail that got no answer. False for every prepare (the local transaction
        must not commit) and for everything that was refused (something contradicts it, or has to be changed).
        """
        return self._left_open and _SETTLED_BY.get(self.step or "") is not None

    def at(self, step: str) -> Self:
        """Say which call failed, once that is known."""
        self.step = self.step or step
        return self

    def __str__(self) -> str:
        return f"{self._what()} {self._meaning()}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of the kinds differ; an error that crosses to another process or caller is its attributes.
        return _revived, (type(self), self.args, self.__dict__.copy())

    def _what(self) -> str:
        return self.detail

    def _meaning(self) -> str:
        if self.step is None or self.step not in _SETTLED_BY:
            return ""
        if self.step == "prepare":
            return "The prepare call failed, which is not safe to ignore: the local transaction must not commit."
        if self.safe_to_ignore:
            return f"The {self.step} call failed, which is safe to ignore: {_SETTLED_BY[self.step]}."
        return f"The {self.step} call was refused, which is not safe to ignore: nothing later will settle it."


def _revived(kind: type[AfterCommitClientError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class Refused(AfterCommitClientError):
    """The service refused, and will refuse the same call again.

    `code` is the stable name of the refusal, `status` the HTTP status (None for an item of a batch), `pointer` a JSON
    Pointer to the field at fault, `message_status` the message's status where that stood in the way.

        try:
            client.prepare("orders created", {"order": 42})
        except Refused as error:
            print(error.code, error.pointer, error.detail)
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        pointer: str | None = None,
        message_status: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.pointer = pointer
        self.message_status = message_status

    def _what(self) -> str:
        place = f", at {self.pointer}" if self.pointer else ""
        return f"{self.detail} ({self.code}{place})"


class Invalid(Refused):
    """The request is wrong: 400, 413, 415 or 422.

    try:
        client.prepare("orders.created", {"order": 42}, delay_seconds=-1)
    except Invalid as error:
        print(error.pointer, error.detail)          # error.pointer: "/delay_seconds"
    """


class Denied(Refused):
    """The key is missing, unknown, or not allowed to do this: 401 or 403.

    try:
        client.put_topic("orders.created", subscriptions=["billing", "stock"])
    except Denied as error:
        print(f"This takes an operator's key: {error}")
    """


class NotFound(Refused):
    """It does not exist, or is another application's: 404. Final: a consumer acknowledges the broker's copy.

    try:
        print(client.message(message_id).status)
    except NotFound:
        print("This application has no such message.")
    """


class Conflict(Refused):
    """The present state refuses it: 409. Final: a consumer acknowledges the broker's copy.

    try:
        client.complete(delivery.id, "billing")
    except Conflict as error:
        print(f"Message {delivery.id} is {error.message_status}: {error}")
    """


class RolledBack(Conflict):
    """The message was rolled back. A local transaction must not commit on it; one that did is an incident.

    try:
        client.confirm(message_id)
    except RolledBack as error:
        alert(f"A transaction committed, and its message is not delivered: {error}")
    """


class AlreadyConfirmed(Conflict):
    """The message was confirmed, so it can no longer be cancelled.

    try:
        client.cancel(message_id, "The customer left.")
    except AlreadyConfirmed:
        client.prepare("orders.withdrawn", {"order": 42}, confirmed=True)
    """


class NotDelivered(Conflict):
    """The message was never delivered, so there is nothing to report on it.

    try:
        client.complete(message_id, "billing")
    except NotDelivered as error:
        print(f"Message {message_id} is only {error.message_status}.")
    """


class IdConflict(Conflict):
    """The id belongs to a message with other content.

    try:
        client.prepare("orders.created", {"order": 43}, id=message_id)
    except IdConflict:
        print(f"It was prepared with {client.message(message_id).json()}.")
    """


class InvalidTransition(Conflict):
    """The message's status does not allow this.

    try:
        client.recheck(message_id)
    except InvalidTransition as error:
        print(f"Nothing is left to ask: it is {error.message_status}.")
    """


class Unavailable(AfterCommitClientError):
    """The service is overloaded, or its database cannot be used: 408, 429, 502, 503 or 504.

    `retry_after_seconds` is what the service asked for, if it did.

        try:
            client.prepare("orders.created", {"order": 42})
        except Unavailable as error:
            print(f"Not now; try again in {error.retry_after_seconds or 5} s.")
    """

    _left_open = True

    def __init__(
        self, code: str, detail: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    def _what(self) -> str:
        return f"{self.detail} ({self.code})"


class Unreachable(AfterCommitClientError):
    """No answer came: the connection was refused or lost, or time was up.

    `perhaps_received`: the request may have had its effect. `repeatable`: making the same call again does no harm;
    so it is for every call with an id.

        try:
            client.confirm(message_id)
        except Unreachable as error:
            print(f"Check-back will settle it: {error}")
    """

    _left_open = True

    def __init__(self, detail: str, *, perhaps_received: bool, repeatable: bool) -> None:
        super().__init__(detail)
        self.perhaps_received = perhaps_received
        self.repeatable = repeatable


class Unexpected(AfterCommitClientError):
    """The answer is not one of this protocol. `status` is its HTTP status.

    try:
        client.stats()
    except Unexpected as error:
        print(f"Is this AfterCommit's address? It answered {error.status}: {error}")
    """

    _left_open = True

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(detail)
        self.status = status


_CONFLICTS: Final[Mapping[str, type[Conflict]]] = MappingProxyType(
    {
        "rolled_back": RolledBack,
        "already_confirmed": AlreadyConfirmed,
        "not_delivered": NotDelivered,
        "id_conflict": IdConflict,
        "invalid_transition": InvalidTransition,
    }
)
_BY_STATUS: Final[Mapping[int, type[Refused]]] = MappingProxyType(
    {
        400: Invalid,
        401: Denied,
        403: Denied,
        404: NotFound,
        409: Conflict,
        413: Invalid,
        415: Invalid,
        422: Invalid,
    }
)
# An item of a batch has a code but no HTTP status; what is not listed here was wrong with the item itself.
_ITEM_NOT_FOUND: Final = frozenset({"unknown_message", "not_found"})
_ITEM_DENIED: Final = frozenset({"forbidden"})
_ITEM_UNAVAILABLE: Final = frozenset({"unavailable", "overloaded", "store_unavailable", "busy", "rate_limited"})


def refusal_of(problem: Problem, status: int) -> Refused:
    """The error for a problem answered with the HTTP status `status`."""
    kind = _CONFLICTS.get(problem.code) if status == 409 else None
    return (kind or _BY_STATUS.get(status, Refused))(
        problem.code,
        problem.detail,
        status=status,
        pointer=problem.pointer,
        message_status=problem.message_status,
    )


def error_of_item(error: ItemError) -> Refused | Unavailable:
    """The error of one item of a batch, as a value."""
    if error.code in _ITEM_UNAVAILABLE:
        return Unavailable(error.code, error.detail)
    kind: type[Refused]
    if error.code in _ITEM_NOT_FOUND:
        kind = NotFound
    elif error.code in _ITEM_DENIED:
        kind = Denied
    else:
        kind = _CONFLICTS.get(error.code, Conflict if error.status else Invalid)
    return kind(error.code, error.detail, message_status=error.status)
