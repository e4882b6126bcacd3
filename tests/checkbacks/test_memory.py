"""The check-back for tests answers as scripted and remembers what it was asked."""

from aftercommit.checkbacks.memory import MemoryCheckback
from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Checkback, Verdict
from tests.checkbacks.conftest import app, ask_about

COMMITTED, UNKNOWN = CheckOutcome.COMMITTED, CheckOutcome.UNKNOWN


async def test_it_answers_by_id_and_does_not_know_the_rest():
    double = MemoryCheckback({"a": COMMITTED})
    port: Checkback = double

    verdicts = await port.ask(app("http://x/"), ask_about("b", "a"))

    assert [(each.id, each.outcome, each.made) for each in verdicts] == [("b", UNKNOWN, True), ("a", COMMITTED, True)]
    assert double.asked == ["b", "a"]
    assert double.calls[0][0] == "orders"


async def test_without_an_address_or_while_unreachable_nothing_is_asked():
    double = MemoryCheckback({"a": COMMITTED})

    [without] = await double.ask(app(None), ask_about("a"))
    double.reachable = False
    [unreachable] = await double.ask(app("http://x/"), ask_about("a"))
    double.reachable = True
    await double.close()
    [closed] = await double.ask(app("http://x/"), ask_about("a"))

    assert [each.made for each in (without, unreachable, closed)] == [False] * 3
    assert isinstance(without, Verdict)
    assert double.calls == []
