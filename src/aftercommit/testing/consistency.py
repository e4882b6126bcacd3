"""The promise as one assertion: delivered if and only if the local transaction committed, each effect once."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from aftercommit.domain.lifecycle import UNCONFIRMED, Status
from aftercommit.sdk.messages import StoredMessage
from aftercommit.testing.checkback import InProcessCheckback
from aftercommit.testing.draining import Drained, PlainHandler, Receiver, drain
from aftercommit.testing.expectations import is_published, line, listing
from aftercommit.testing.inside import Inside
from aftercommit.testing.pace import Pace

# Longer than every check and every redelivery of the default policy, shorter than its retention.
HEAL_SECONDS: Final = 3 * 24 * 3600.0
_LONGEST_STEP_SECONDS: Final = 3600.0

Committed: TypeAlias = Collection[str] | Callable[[StoredMessage], bool]
Effects: TypeAlias = Mapping[str, int] | Callable[[], Mapping[str, int]]


def unit_of(message: StoredMessage) -> str:
    """The unit of work that a message belongs to: its key, or its id where it has none."""
    return message.id if message.key is None else message.key


@dataclass(frozen=True, slots=True)
class Claims:
    """What should be true of the messages of `topic`. `effects` counts what the consumer did for each unit."""

    topic: str | None
    committed: Committed
    effects: Effects | None
    unit: Callable[[StoredMessage], str]


async def heal(inside: Inside, receiver: Receiver | PlainHandler | None) -> Drained:
    """Let time do its work: checks are asked, delayed messages sent, failed deliveries made again, until all is quiet.

    Ends after three days of fake time even if something still waits.
    """
    healed: Counter[str] = Counter()
    errors: list[tuple[str, Exception]] = []
    node, pace = inside.node, Pace(_LONGEST_STEP_SECONDS)
    until = node.clock.monotonic() + HEAL_SECONDS
    await inside.caller.result_of(node.advance(0), errands=True)
    while True:
        if receiver is not None:
            drained = await drain(receiver, inside)
            healed.update(drained.counts)
            errors = drained.errors or errors
        consumed = set() if receiver is None else set(receiver.subscriptions)
        dues = await inside.caller.result_of(node.healing_dues(consumed))
        step = pace.step_seconds(node.clock.now(), dues, again_seconds=1.0)
        left = until - node.clock.monotonic()
        if step is None or left <= 0:
            return Drained(dict(healed), errors)
        await inside.caller.result_of(node.advance(min(step, left)), errands=True)


def find_offences(messages: Sequence[StoredMessage], claims: Claims) -> list[str]:
    """Every way in which what happened differs from the promise, as text. Empty: it was kept."""
    committed = claims.committed
    is_committed = committed if callable(committed) else lambda message: claims.unit(message) in committed
    undecided = [each for each in messages if each.status in UNCONFIRMED]
    published = [each for each in messages if is_published(each)]
    offences = [
        f"PHANTOM: delivered, though its transaction did not commit: {line(each)}"
        for each in published
        if not is_committed(each)
    ]
    if callable(committed):
        lost = [each for each in messages if each.status == Status.ROLLED_BACK and is_committed(each)]
        offences += [f"LOST: its transaction committed, and it was rolled back: {line(each)}" for each in lost]
    else:
        present = {claims.unit(each) for each in (*published, *undecided)}
        offences += [
            f"LOST: {unit!r} committed, and no message of it is delivered" for unit in sorted(set(committed) - present)
        ]
    offences += [f"UNDECIDED: nobody could say what became of its transaction: {line(each)}" for each in undecided]
    if claims.effects is not None:
        effects = claims.effects() if callable(claims.effects) else claims.effects
        offences += _effect_offences(published, effects, claims.unit)
    return offences


def _effect_offences(
    published: Sequence[StoredMessage], effects: Mapping[str, int], unit: Callable[[StoredMessage], str]
) -> list[str]:
    expected = Counter(unit(each) for each in published)
    # One that is not due yet, or that the consumer refused, need not have had its effect.
    excused = Counter(unit(each) for each in published if each.status in (Status.PENDING_SEND, Status.FAILED))
    offences = []
    for each in sorted(expected.keys() | effects.keys()):
        had, most = effects.get(each, 0), expected[each]
        if had > most:
            word = "DUPLICATE" if most else "PHANTOM EFFECT"
            offences.append(f"{word}: {each!r} had its effect {had} times, for {most} delivered messages")
        elif had < most - excused[each]:
            offences.append(f"NO EFFECT: {each!r} had its effect {had} times, for {most} delivered messages")
    return offences


def report(
    offences: Sequence[str], messages: Sequence[StoredMessage], *, drained: Drained, checkback: InProcessCheckback
) -> str:
    """The text of the failed assertion."""
    lines = [
        f"Not consistent, {len(offences)} offence{'s' * (len(offences) > 1)}:",
        *(f"  {each}" for each in offences),
    ]
    unsure = [each for each in checkback.asked if each.detail is not None]
    if unsure:
        lines.append(f"The last check without an answer, of {unsure[-1].app}: {unsure[-1].detail}.")
    if drained.counts:
        lines.append(f"Delivered meanwhile: {drained.describe()}.")
    return "\n".join([*lines, listing(messages)])
