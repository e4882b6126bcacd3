"""The store suite, part one: every cell of the protocol's table, through a write, however the status was reached."""

import pytest

from aftercommit.domain import commands as c
from aftercommit.domain.lifecycle import Refusal, Status
from tests.builders import make_world, message_id
from tests.conformance.store_case import Play, StoreCase
from tests.lifecycle_table import CELLS, EVENTS
from tests.ways import BUDGET_EVENTS, ways

WAYS = {name: status for name, (status, _steps) in ways(make_world()).items()}
COMMANDS = [event for event in EVENTS if event not in BUDGET_EVENTS]


class TableSuite(StoreCase):
    """What a command does to a stored message."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_every_way_leads_where_it_says(self, play: Play, way: str) -> None:
        message = await play.come(way)

        assert message.status == WAYS[way]

    @pytest.mark.parametrize("way", WAYS)
    async def test_a_command_does_what_the_table_says(self, play: Play, way: str) -> None:
        # given one message per event, all in the same state
        for number in range(1, len(COMMANDS) + 1):
            await play.come(way, number)
        before = {event: await play.state(number) for number, event in enumerate(COMMANDS, 1)}
        play.later(1)

        for number, event in enumerate(COMMANDS, 1):
            # when
            outcome = await play.one(play.say(number).for_event(event))

            # then
            after = await play.state(number)
            cell = CELLS[event, before[event].status]
            if cell.startswith("!"):
                assert (event, outcome.refusal) == (event, Refusal(cell[1:]))
                assert (outcome.status, outcome.changed, outcome.message) == (after.status, False, after)
                assert outcome.detail
                assert after == before[event]
            elif cell == "already":
                assert (event, outcome.refusal) == (event, None)
                assert (outcome.status, outcome.changed, outcome.message) == (after.status, False, after)
                assert after == before[event]
            elif cell == "replay":
                assert (outcome.id, outcome.created) == (message_id(number + 900_000), True)
                assert after == before[event]
            else:
                assert (event, outcome.refusal, outcome.status) == (event, None, Status(cell))
                assert after.status == Status(cell)
                assert outcome.message == after
                assert after.version == before[event].version + outcome.changed

    @pytest.mark.parametrize("event", COMMANDS)
    async def test_an_unknown_message_is_said_to_be_unknown(self, play: Play, event: str) -> None:
        outcome = await play.one(play.say().for_event(event))

        assert (outcome.id, outcome.refusal, outcome.status) == (message_id(1), Refusal.UNKNOWN_MESSAGE, None)
        assert (outcome.changed, outcome.message) == (False, None)
        assert await play.store.get(message_id(1)) is None

    @pytest.mark.parametrize("way", WAYS)
    async def test_another_application_cannot_tell_a_message_from_none(self, play: Play, way: str) -> None:
        before = await play.come(way)
        stranger = play.world.shipping
        say = play.say()
        commands: list[c.Command] = [
            c.Confirm(id=say.id, app=stranger, actor="shipping"),
            c.Cancel(id=say.id, app=stranger, actor="shipping", tombstone=True),
            say.complete(app=stranger),
            say.complete("default", app=stranger),
            say.fail(app=stranger),
            c.CheckAnswered(id=say.id, outcome=c.CheckOutcome.COMMITTED, app=stranger),
            c.Discard(id=say.id, app=stranger, actor="shipping", reason="mine now"),
            c.Redeliver(id=say.id, app=stranger, actor="shipping", replay_id=message_id(2)),
            c.Resolve(id=say.id, app=stranger, actor="shipping", committed=True, reason="mine now"),
            c.Recheck(id=say.id, app=stranger, actor="shipping"),
        ]

        outcomes = await play.do(*commands)

        assert {(each.refusal, each.status, each.message) for each in outcomes} == {
            (Refusal.UNKNOWN_MESSAGE, None, None)
        }
        assert await play.state() == before

    async def test_every_budget_ends_exactly_at_its_number(self, play: Play) -> None:
        # given checks_max 3, deliveries_max 2, publish_attempts_max 2
        say = play.say()
        await play.do(say.prepare())

        asked = [(await play.one(say.checked("unknown"))).status for _ in range(3)]
        assert asked == ["pending_confirmation", "pending_confirmation", "undecided"]

        await play.do(say.checked("committed"))
        refused = [(await play.one(say.refused(final=False))).status for _ in range(2)]
        assert refused == ["pending_send", "undelivered"]

        await play.do(say.redeliver(), say.accepted())
        pulled = [(await play.one(say.pull())).status for _ in range(3)]
        assert pulled == ["sent", "sent", "undelivered"]
        assert (await play.state()).deliveries[0].attempts == 2
