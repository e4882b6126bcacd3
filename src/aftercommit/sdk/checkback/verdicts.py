"""What is answered to checks: from the barrier or a topic's own rule, in time, and `unknown` whenever in doubt.

An error, a nonsensical verdict and the end of the time all make `unknown`, which means: ask again. Nothing here raises
what a barrier or a rule raised, and nothing logs a payload, for none is asked about.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.blocking import run_now
from aftercommit.wire import Check

# The service waits for 5 s; a barrier stops by itself after 3 s.
SECONDS: Final = 4.0

Verdict: TypeAlias = Outcome | bool | None
Rule: TypeAlias = Callable[[Check], Verdict | Awaitable[Verdict]]

_log: Final = logging.getLogger("aftercommit.checkback")
_OF_BOOLS: Final = {True: Outcome.COMMITTED, False: Outcome.ROLLED_BACK, None: Outcome.UNKNOWN}

# Calls a barrier's `check` or a rule with its argument; the blocking one never suspends.
_Ask: TypeAlias = Callable[[Callable[[Any], Any], Any], Awaitable[Any]]


class Answers(Protocol):
    """What knows what became of local transactions: `Barrier`, `AsyncBarrier`, or anything like them.

    class Orders:
        def check(self, checks):
            return {each.id: Outcome.COMMITTED for each in checks if orders.find(each.key).paid}

    responder = CheckResponder(Orders(), secrets=[secret])
    """

    def check(self, checks: Sequence[Check], /) -> Mapping[str, Outcome] | Awaitable[Mapping[str, Outcome]]:
        """The outcome of each message; one that is left out is unknown."""


class Verdicts:
    """Decides about checks. Shared by the responder that is called and the one that pulls."""

    def __init__(
        self,
        barrier: Answers | None = None,
        rules: Mapping[str, Rule] | None = None,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rules`: by topic, instead of the barrier. `seconds`: what is not decided by then is unknown."""
        if barrier is not None and not callable(getattr(barrier, "check", None)):
            raise TypeError(f"{type(barrier).__name__} answers no checks: give an object with `check(checks)`.")
        self._barrier = barrier
        self._rules: dict[str, Rule] = {}
        self._seconds = seconds
        self._clock = clock
        self._only_blocking: str | None = None
        for topic, rule in (rules or {}).items():
            self.add_rule(topic, rule)

    @property
    def blocking(self) -> bool:
        """Whether nothing that is asked has to be awaited."""
        return not any(map(_is_awaitable, self._all_asked()))

    def add_rule(self, topic: str, rule: Rule) -> None:
        """Ask `rule` about this topic. Raises ValueError if the topic has one, TypeError for what cannot be asked."""
        if not callable(rule):
            raise TypeError(f"The rule for {topic} is no function of a check.")
        if topic in self._rules:
            raise ValueError(f"The topic {topic} has a rule already.")
        if self._only_blocking and _is_awaitable(rule):
            raise TypeError(_refusal(self._only_blocking, rule))
        self._rules[topic] = rule

    def require_blocking(self, who: str) -> None:
        """Raises TypeError if something asked is awaitable, now and for every rule that is added later."""
        for asked in self._all_asked():
            if _is_awaitable(asked):
                raise TypeError(_refusal(who, asked))
        self._only_blocking = who

    async def decide(self, checks: Sequence[Check]) -> dict[str, Outcome]:
        """An outcome for each id, once. What blocks runs in a thread; when the time is up, it is left to itself."""
        outcomes = _undecided(checks)
        try:
            async with asyncio.timeout(self._seconds):
                await self._fill(outcomes, checks, _ask_awaiting)
        except TimeoutError:
            # Whatever was asked raises within `_asked`, so this is the time-out above.
            _log.warning("The checks were not all decided within %s s; the service will ask again.", self._seconds)
        return dict(outcomes)

    def decide_blocking(self, checks: Sequence[Check]) -> dict[str, Outcome]:
        """The same for a caller without asyncio. The time is looked at between rules: none can be interrupted."""
        outcomes = _undecided(checks)
        run_now(self._fill(outcomes, checks, _ask_blocking))
        return outcomes

    async def _fill(self, outcomes: dict[str, Outcome], checks: Sequence[Check], ask: _Ask) -> None:
        """Decide into `outcomes`, the barrier's first: it stops by itself, and so leaves time for the rules."""
        until = self._clock() + self._seconds
        asked = list({each.id: each for each in checks}.values())
        for_barrier = [each for each in asked if each.topic not in self._rules]
        if for_barrier and self._barrier is None:
            _log.warning("Nothing answers checks of %s: there is no barrier, and no rule.", _topics(for_barrier))
        elif for_barrier and self._barrier is not None:
            found = await _asked(ask, self._barrier.check, for_barrier, for_barrier)
            if isinstance(found, Mapping):
                outcomes |= {each.id: _outcome(each, found[each.id]) for each in for_barrier if each.id in found}
            elif found is not None:
                _log.error("The barrier answered with no mapping of outcomes, but with %s.", type(found).__name__)
        for each in asked:
            rule = self._rules.get(each.topic)
            if rule is not None and self._clock() < until:
                outcomes[each.id] = _outcome(each, await _asked(ask, rule, each, [each]))

    def _all_asked(self) -> list[Callable[..., Any]]:
        barrier = [] if self._barrier is None else [self._barrier.check]
        return [*barrier, *self._rules.values()]


def _undecided(checks: Sequence[Check]) -> dict[str, Outcome]:
    return {each.id: Outcome.UNKNOWN for each in checks}


async def _asked(ask: _Ask, function: Callable[[Any], Any], argument: Any, checks: Sequence[Check]) -> Any:
    """The answer; None if there was an error."""
    try:
        return await ask(function, argument)
    except Exception:
        # Anything may go wrong in somebody else's code, and not to know is an answer.
        _log.exception(
            "%s checks of %s could not be decided; the service will ask again.", len(checks), _topics(checks)
        )
        return None


def _topics(checks: Sequence[Check]) -> str:
    return ", ".join(sorted({each.topic for each in checks}))


def _outcome(check: Check, verdict: Any) -> Outcome:
    if verdict is None or isinstance(verdict, bool):
        return _OF_BOOLS[verdict]
    try:
        return Outcome(verdict)
    except ValueError:
        kind = type(verdict).__name__
        _log.error("The verdict on message %s of %s is a %s, and no outcome.", check.id, check.topic, kind)
        return Outcome.UNKNOWN


async def _ask_blocking(function: Callable[[Any], Any], argument: Any) -> Any:
    answer = function(argument)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError(_refusal("A blocking responder", function))
    return answer


async def _ask_awaiting(function: Callable[[Any], Any], argument: Any) -> Any:
    if _is_awaitable(function):
        return await function(argument)
    answer = await asyncio.to_thread(function, argument)
    return await answer if inspect.isawaitable(answer) else answer


def _is_awaitable(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - an object with an async __call__


def _refusal(who: str, function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{who} cannot await {name}: use a blocking one, or answer with asyncio (CheckApp, AsyncPullResponder)."
