"""A check-back call, verified, answered and signed: the protocol's section 4, for any web framework.

| what came                         | answer                                                          |
|-----------------------------------|-----------------------------------------------------------------|
| a check-back call                 | 200, an outcome for every id, signed over the same webhook-id   |
| not signed by one of the secrets  | 401                                                             |
| no JSON, or another type of call  | 400                                                             |
| another media type, or compressed | 415                                                             |
| over 1 MiB                        | 413                                                             |

The service takes each refusal for `unknown` and asks again. No calls are remembered: one that is replayed asks about
messages whose outcomes are final or asked for anyway, and the barrier answers the same to the same question.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.verdicts import SECONDS, Answers, Rule, Verdicts
from aftercommit.sdk.web import BODY_BYTES_MAX, Unacceptable, WebAnswer
from aftercommit.signatures import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, BadSignature, sign, verify
from aftercommit.wire import Check, CheckResult, CheckResults

CALL_TYPE: Final = "aftercommit.check"
_MEDIA_TYPE: Final = "application/json"

_log: Final = logging.getLogger("aftercommit.checkback")

R = TypeVar("R", bound=Rule)


class _Call(msgspec.Struct, frozen=True):
    """`wire.CheckCall` as it is read: its type must be said. Fields that are not known are ignored."""

    type: str
    checks: list[Check]


class CheckResponder:
    """Answers check-back calls from a barrier, or from rules of the business. Mount it with one of the adapters.

    responder = CheckResponder(Barrier(engine), secrets=[os.environ["AFTERCOMMIT_SECRET"]])
    app.mount("/aftercommit/checks", CheckApp(responder))
    """

    def __init__(
        self,
        barrier: Answers | None = None,
        *,
        secrets: Sequence[str],
        rules: Mapping[str, Rule] | None = None,
        seconds: float = SECONDS,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`barrier`: a `Barrier`, an `AsyncBarrier`, or any object with their `check`.

        `secrets`: those of the application, two while they are rotated; one good signature is enough, and answers are
        signed with all. `()` is for development: anybody may ask, and is answered unsigned. `rules`: see `rule`.
        `seconds`: what is not decided by then is answered `unknown`; the service waits for 5 s. `now` (seconds since
        1970) and `clock` (monotonic seconds) are there for tests to replace.

        Raises TypeError for a single string, for a secret that is no text (a variable that is not set) and for what
        answers no checks; `BadSecret` for what is no secret.
        """
        if isinstance(secrets, str):
            raise TypeError('secrets is a list, for there are two of them during a rotation: secrets=["whsec_..."].')
        self._secrets = tuple(secrets)
        if not all(isinstance(each, str) for each in self._secrets):
            raise TypeError("One of the secrets is no text: is the variable it is read from set?")
        if self._secrets:
            # A secret that is none must be found when the program starts, not when the first check comes.
            sign(self._secrets, "start", 0, b"")
        else:
            _log.warning("Checks are answered to anybody, unsigned: this responder was given no secrets.")
        self._now = now
        self.verdicts = Verdicts(barrier, rules, seconds=seconds, clock=clock)

    def rule(self, topic: str) -> Callable[[R], R]:
        """Decide about a topic's messages by a function instead of the barrier, blocking or `async`.

        It returns True or `Outcome.COMMITTED`, False or `Outcome.ROLLED_BACK` (only if the local transaction can never
        commit any more), None or `Outcome.UNKNOWN`. It may be asked more than once, and should end by itself in a
        second: one that blocks cannot be interrupted.

            @responder.rule("orders.paid")
            def paid(check):
                order = orders.find(check.key)
                return order.paid if order.closed else None
        """

        def register(rule: R) -> R:
            self.verdicts.add_rule(topic, rule)
            return rule

        return register

    def check(self, checks: Sequence[Check]) -> Mapping[str, Outcome] | Awaitable[Mapping[str, Outcome]]:
        """Decide without a call, as a barrier does; awaitable if something that is asked is. For tests:

        service.answer_checks_with(responder)
        """
        return self.verdicts.decide_blocking(checks) if self.verdicts.blocking else self.verdicts.decide(checks)

    async def respond(self, headers: Mapping[str, str], body: bytes) -> WebAnswer:
        """What to answer to a POST with these headers (any case) and this raw body. Raises nothing of the asked code.

        answer = await responder.respond(request.headers, await request.body())
        """
        try:
            names, checks = self._read(headers, body)
        except Unacceptable as refusal:
            return refusal.answer()
        return self._answer(names, await self.verdicts.decide(checks))

    def respond_blocking(self, headers: Mapping[str, str], body: bytes) -> WebAnswer:
        """The same without asyncio; an awaitable barrier or rule is answered `unknown`.

        answer = responder.respond_blocking(dict(request.headers), request.get_data())
        """
        try:
            names, checks = self._read(headers, body)
        except Unacceptable as refusal:
            return refusal.answer()
        return self._answer(names, self.verdicts.decide_blocking(checks))

    def _read(self, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, str], list[Check]]:
        names = {name.lower(): value for name, value in headers.items()}
        if len(body) > BODY_BYTES_MAX:
            raise Unacceptable(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
        # The signature before everything that looks into the body.
        self._verify(names, body)
        if names.get("content-type", "").partition(";")[0].strip().lower() != _MEDIA_TYPE:
            raise Unacceptable(415, f"A check-back call is {_MEDIA_TYPE}.")
        if names.get("content-encoding", "identity") != "identity":
            raise Unacceptable(415, "A compressed body is not read.")
        try:
            call = msgspec.json.decode(body, type=_Call)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unacceptable(400, "This is no check-back call: the body is not as the protocol says.") from error
        if call.type != CALL_TYPE:
            raise Unacceptable(400, f"Only calls of the type {CALL_TYPE} are answered here.")
        return names, call.checks

    def _verify(self, headers: Mapping[str, str], body: bytes) -> None:
        if not self._secrets:
            return
        try:
            verify(self._secrets, headers, body, int(self._now()))
        except BadSignature as error:
            _log.warning("A check-back call was refused: %s", error)
            raise Unacceptable(401, str(error)) from error

    def _answer(self, headers: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> WebAnswer:
        results = CheckResults(results=results_of(outcomes))
        body = msgspec.json.encode(results)
        signed = {"content-type": _MEDIA_TYPE}
        if self._secrets:
            call_id, timestamp = headers[ID_HEADER], int(self._now())
            signed |= {ID_HEADER: call_id, TIMESTAMP_HEADER: str(timestamp)}
            signed[SIGNATURE_HEADER] = sign(self._secrets, call_id, timestamp, body)
        return WebAnswer(200, body, signed)


def results_of(outcomes: Mapping[str, Outcome]) -> list[CheckResult]:
    """Outcomes as they are sent."""
    return [CheckResult(id=message_id, outcome=outcome.value) for message_id, outcome in outcomes.items()]
