"""The handlers of a consumer: what may be one, and which one a delivery is for."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from aftercommit.sdk.consumer.delivery import Delivery

Function = TypeVar("Function", bound=Callable[..., Any])

CONCURRENCY: Final = 8
# Half of the first redelivery interval: a handler that hangs is undone before its message comes again.
TIMEOUT_SECONDS: Final = 30.0


class NoHandler(LookupError):
    """No handler of this consumer takes the delivery, or more than one could. Nothing was done and nothing reported.

    Do not acknowledge the broker's copy: what is bound to this consumer is not what it was written for.

        try:
            consumer.receive(delivery)
        except NoHandler as error:
            alert(f"The queue is bound to the wrong topic: {error}")
    """


@dataclass(frozen=True, slots=True)
class Registered(Generic[Function]):
    """A function under the topic and subscription it handles."""

    topic: str
    subscription: str
    function: Function
    concurrency: int
    timeout_seconds: float | None


class Handlers(Generic[Function]):
    """The handlers of one consumer, at most one for each pair of a topic and a subscription."""

    def __init__(self, *, asynchronous: bool, with_transaction: bool) -> None:
        self._asynchronous = asynchronous
        self._with_transaction = with_transaction
        self._by_pair: dict[tuple[str, str], Registered[Function]] = {}

    def pairs(self) -> list[tuple[str, str]]:
        """What is handled: (topic, subscription), in the order it was registered."""
        return list(self._by_pair)

    def all(self) -> list[Registered[Function]]:
        """Every handler, in the order it was registered."""
        return list(self._by_pair.values())

    def add(self, handler: Registered[Function]) -> None:
        """Register a handler. Raises TypeError for a function that cannot be one, ValueError for a second one."""
        pair = (handler.topic, handler.subscription)
        _require_names_and_limits(handler)
        self._require_kind(handler.function)
        _require_arguments(handler.function, ["delivery", "tx"] if self._with_transaction else ["delivery"])
        if pair in self._by_pair:
            raise ValueError(
                f"{_name(self._by_pair[pair].function)} handles {_shown(*pair)} already; give "
                f"{_name(handler.function)} a subscription of its own."
            )
        self._by_pair[pair] = handler

    def find(self, delivery: Delivery, subscription: str | None = None) -> Registered[Function] | None:
        """The handler of a delivery; None if it is a redelivery that is meant for none of them.

        By topic and subscription; without a subscription by the ones it is meant for, or the only one of its topic.
        Raises `NoHandler`.
        """
        if subscription is not None:
            found = self._by_pair.get((delivery.topic, subscription))
            if found is None:
                raise NoHandler(f"Nothing here handles {_shown(delivery.topic, subscription)} ({self._known()}).")
            return found
        of_topic = [each for each in self._by_pair.values() if each.topic == delivery.topic]
        if not of_topic:
            raise NoHandler(f"Nothing here handles {delivery.topic!r} ({self._known()}).")
        meant = [each for each in of_topic if delivery.is_for(each.subscription)]
        if len(meant) > 1:
            names = ", ".join(each.subscription for each in meant)
            raise NoHandler(f"Message {delivery.id} could be for {names}: say for which subscription it came.")
        return meant[0] if meant else None

    def _require_kind(self, function: Any) -> None:
        if not callable(function):
            raise TypeError(f"{function!r} cannot handle anything: it is no function.")
        if is_coroutine_function(function) == self._asynchronous:
            return
        if self._asynchronous:
            raise TypeError(
                f"{_name(function)} is a plain function, which would hold up the whole loop; write `async def`, or use "
                "Consumer."
            )
        raise TypeError(f"{_name(function)} is a coroutine function; write `def`, or use AsyncConsumer.")

    def _known(self) -> str:
        return "it handles " + (", ".join(_shown(*pair) for pair in self._by_pair) or "nothing")


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - it is looked at, not tested for


def _require_names_and_limits(handler: Registered[Any]) -> None:
    if not (handler.topic and handler.subscription):
        raise ValueError("A handler needs the name of a topic and of a subscription.")
    if handler.concurrency < 1:
        raise ValueError(f"A concurrency of {handler.concurrency} would never handle anything; give at least 1.")
    if handler.timeout_seconds is not None and handler.timeout_seconds <= 0:
        raise ValueError("timeout_seconds must be over 0, or None for no limit.")


def _require_arguments(function: Any, names: list[str]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Written in C, without a signature to look at.
        return
    try:
        signature.bind(*names)
    except TypeError:
        why = "has a database" if len(names) > 1 else "has no database, so there is no transaction to give"
        raise TypeError(
            f"{_name(function)} must take ({', '.join(names)}), because this consumer {why}; it takes {signature}."
        ) from None


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _shown(topic: str, subscription: str) -> str:
    return f"{topic!r} for {subscription!r}"
