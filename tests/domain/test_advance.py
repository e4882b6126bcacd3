"""Any history whatever: what holds in every state that commands can lead to."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import LIVE, TERMINAL, message_status
from aftercommit.domain.message import Delivery, DueKind, Message
from tests.builders import BILLING, HOUR, MINUTE, SECOND, SHIPPING, make_world, message_id
from tests.domain.life import Life, dues
from tests.lifecycle_table import CELLS
from tests.ways import SMALL_BUDGETS, Commands

LAYOUTS: tuple[dict[str, str], ...] = (
    {},
    {"billing": BILLING},
    {"billing": BILLING, "shipping": SHIPPING},
    {"billing": BILLING, "audit": BILLING, "default": SHIPPING},
)
WORLDS = tuple(make_world(layout, policy=SMALL_BUDGETS) for layout in LAYOUTS)
# Where a message, or one delivery, can go in one command: the table's moves, and no others.
MOVES = {(status.value, cell) for (_event, status), cell in CELLS.items() if cell[0] != "!"} | {
    # A delivery that is given up, refused or discarded changes what the message shows.
    ("pending_send", "sent"),
    ("sent", "failed"),
    ("sent", "completed"),
    ("sent", "pending_send"),
    ("pending_send", "undelivered"),
    ("undelivered", "sent"),
}
KINDS = {
    "pending_confirmation": {DueKind.CHECK},
    "undecided": {DueKind.CHECK},
    "pending_send": {DueKind.SEND},
    "sent": {DueKind.PULL, DueKind.REDELIVER, DueKind.EXPIRE},
}


@st.composite
def commands(draw: st.DrawFn, say: Commands) -> c.Command:
    """Any command, by anybody, about any delivery."""
    names = (None, *say.world.subscriptions, "nobody")
    name = draw(st.sampled_from(names))
    ids = tuple(say.world.subscriptions.values())
    subscription = draw(st.sampled_from((None, *ids)))
    one = draw(st.sampled_from(ids))
    app = draw(st.sampled_from((say.world.orders, say.world.billing, say.world.shipping)))
    yes = draw(st.booleans())
    anything: list[c.Command] = [
        say.confirm(),
        say.cancel(),
        c.HoldCheck(id=say.id),
        c.HandOutCheck(id=say.id),
        c.ExpireUnasked(id=say.id),
        say.checked("committed"),
        say.checked("rolled_back"),
        say.checked("unknown", made=yes),
        say.checked("unknown", counted=yes),
        replace(say.accepted(pullable=yes), subscription=subscription),
        say.accepted(pullable=yes),
        replace(say.refused(final=yes), subscription=subscription),
        c.Pull(id=say.id, subscription=one),
        c.Redelivered(id=say.id, subscription=one),
        c.Expire(id=say.id, subscription=one),
        say.complete(name, app=app),
        say.complete(name),
        say.fail(name, app=app),
        say.resolve(committed=yes),
        say.recheck(),
        say.redeliver(),
        say.redeliver(*((name,) if name else ())),
        say.discard(subscription=subscription),
    ]
    return draw(st.sampled_from(anything))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_holds_in_every_state_that_commands_can_lead_to(data):
    life = Life(data.draw(st.sampled_from(WORLDS)), chance=lambda: data.draw(st.floats(0, 0.99)))
    life.do(life.say.prepare(confirmed=data.draw(st.booleans()), delay=data.draw(st.sampled_from((0, HOUR)))))
    require_sense(life.message)

    for _ in range(data.draw(st.integers(1, 25))):
        life.now += data.draw(st.sampled_from((0, SECOND, MINUTE, HOUR)))
        before = life.message
        step = life.step(data.draw(commands(life.say)))
        require_sense(life.message)

        # a refusal or a repetition writes nothing, and the answer is the present status
        assert step.outcome.changed == (step.message is not None or step.replay is not None)
        if step.outcome.refusal is not None or not step.outcome.changed:
            assert (step.message, step.events, step.outcome.changed) == (None, (), False)
        if step.replay is None:
            assert step.outcome.status in (None, life.message.status)
            assert step.outcome.message in (None, life.message)
        else:
            require_sense(step.replay)
            assert (step.replay.replay_of, step.replay.status, step.message) == (before.id, "pending_send", None)

        # a terminal status absorbs everything
        if before.status in TERMINAL:
            assert life.message == before
        # a change of status is one of the table's
        assert before.status == life.message.status or (before.status.value, life.message.status.value) in MOVES
        # the subscriptions are fixed once
        if before.deliveries:
            assert [each.subscription for each in life.message.deliveries] == [
                each.subscription for each in before.deliveries
            ]
        # what is known is never forgotten
        assert (life.message.id, life.message.app, life.message.prepared_at) == (
            before.id,
            before.app,
            before.prepared_at,
        )
        assert life.message.checks >= before.checks


def require_sense(message: Message) -> None:
    """The invariants of one state."""
    assert (message.settled_at is not None) == (message.status in TERMINAL)
    if message.deliveries:
        assert message.status == message_status(each.status for each in message.deliveries)
        assert message.confirmed_at is not None
    for each in message.deliveries:
        require_sense_of_delivery(each, message)
    if message.status in LIVE or message.status == "undecided":
        assert dues(message), "nothing would ever happen to it"
    else:
        assert not dues(message)
    if message.due is not None:
        assert message.due.kind in KINDS[message.status]
        assert message.due.kind in (DueKind.CHECK, DueKind.SEND)
    if message.status == "pending_confirmation":
        assert message.checks <= 3
    if message.status == "completed":
        assert message.error is None
    if message.status in ("undelivered", "failed"):
        assert message.error


def require_sense_of_delivery(delivery: Delivery, message: Message) -> None:
    """The invariants of one delivery."""
    assert delivery.attempts <= 2
    assert delivery.refusals <= 2
    assert (delivery.settled_at is not None) == (delivery.status in ("completed", "failed"))
    if delivery.status == "pending_send":
        # it waits with the message, or alone, never both
        assert (delivery.due is None) == (message.due is not None)
    elif delivery.status == "sent":
        assert delivery.due is not None
    else:
        assert delivery.due is None
    if delivery.due is not None:
        assert delivery.due.kind in KINDS[delivery.status]
        assert delivery.due.lane == (message.topic if delivery.status == "pending_send" else delivery.subscription)
    if delivery.status == "undelivered":
        assert delivery.error
    if delivery.status == "completed":
        assert delivery.error is None


def test_an_id_of_a_replay_is_the_one_asked_for():
    life = Life(WORLDS[0])
    for work in (life.say.prepare(confirmed=True), life.say.fail()):
        life.do(work)

    step = life.step(life.say.redeliver(replay=77))

    assert step.replay is not None
    assert step.replay.id == message_id(77)
