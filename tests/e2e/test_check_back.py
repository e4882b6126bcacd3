"""Check-back: what the service asks an initiator, and what it makes of the answer."""

import re
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.caller import Answer, Caller
from tests.e2e.initiator import Asked, Initiator, Reply, always, in_turn
from tests.e2e.names import fresh
from tests.e2e.node import Node
from tests.e2e.waiting import await_status, eventually

QUICK = {
    "check_after_seconds": 0.05,
    "check_interval_seconds": 0.05,
    "check_interval_max_seconds": 0.1,
    "checks_max": 3,
}

Register = Callable[..., Initiator]


@pytest.fixture
def initiator_of(orders: Caller) -> Iterator[Register]:
    """Registers an initiator with these answers for the application `orders`."""
    started: list[Initiator] = []

    def register(answer: Callable[[Asked], Reply], *, port: int = 0) -> Initiator:
        initiator = Initiator(answer, port=port).__enter__()
        started.append(initiator)
        orders.put(f"/v1/apps/{orders.app}", {"check_url": initiator.url, "check_signed": False}).require(200, 201)
        return initiator

    yield register
    for each in started:
        each.__exit__(None, None, None)


def test_an_unconfirmed_message_is_asked_about_and_delivered_if_committed(
    orders: Caller, topic: str, initiator_of: Register
) -> None:
    initiator = initiator_of(always("committed"))
    orders.put_topic(topic, policy=QUICK).require(201)

    message = orders.prepare(topic, "paid", key="42", check_hint="shard-3").require(201)

    assert orders.pull_one(topic, "default")["payload"] == "paid"
    asked = initiator.asked[0]
    assert asked.method == "POST"
    assert asked.headers["content-type"] == "application/json"
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(asked.headers)
    check = initiator.asked_about(message["id"])[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", check.pop("prepared_at"))
    assert check == {"id": message["id"], "topic": topic, "key": "42", "hint": "shard-3", "check": 1}
    seen = orders.message(message["id"])
    assert seen["checks"] == 1
    assert [each["event"] for each in seen["timeline"]].count("checked") == 1
    assert orders.confirm(message["id"]).status == 200, "The late confirm is already done."


def test_an_unconfirmed_message_is_asked_about_and_dropped_if_rolled_back(
    orders: Caller, topic: str, initiator_of: Register
) -> None:
    initiator_of(always("rolled_back"))
    orders.put_topic(topic, policy=QUICK).require(201)
    message_id = orders.prepare(topic).require(201)["id"]

    await_status(orders, message_id, "rolled_back")

    orders.confirm(message_id).refused(409, code="rolled_back")
    assert orders.cancel(message_id).require(200)["status"] == "rolled_back"
    assert orders.pull(topic, "default", wait_seconds=0.2) == []


def test_an_unknown_outcome_is_asked_about_again(orders: Caller, topic: str, initiator_of: Register) -> None:
    initiator = initiator_of(in_turn("unknown", "committed"))
    orders.put_topic(topic, policy=QUICK).require(201)
    message_id = orders.prepare(topic).require(201)["id"]

    await_status(orders, message_id, "sent")

    assert [each["check"] for each in initiator.asked_about(message_id)] == [1, 2]
    assert orders.message(message_id)["checks"] == 2


def test_a_confirmed_message_is_never_asked_about(orders: Caller, topic: str, initiator_of: Register) -> None:
    initiator = initiator_of(always("committed"))
    orders.put_topic(topic, policy=QUICK).require(201)
    confirmed = orders.prepare(topic, check_after_seconds=0.4).require(201)["id"]
    cancelled = orders.prepare(topic, check_after_seconds=0.4).require(201)["id"]
    published = orders.publish(topic)
    orders.confirm(confirmed).require(200)
    orders.cancel(cancelled).require(200)

    # What is prepared last is asked about last.
    last = orders.prepare(topic, check_after_seconds=0.8).require(201)["id"]
    await_status(orders, last, "sent")

    for message_id in (confirmed, cancelled, published):
        assert initiator.asked_about(message_id) == []


@pytest.mark.parametrize(
    ("verb", "said", "end"), [("confirm", "rolled_back", "sent"), ("cancel", "committed", "rolled_back")]
)
def test_what_was_said_while_the_check_was_under_way_wins_over_its_answer(
    node: Node, orders: Caller, topic: str, initiator_of: Register, verb: str, said: str, end: str
) -> None:
    heard: list[Answer] = []

    def contradict(asked: Asked) -> Reply:
        with node.caller(orders.app) as other:
            heard.extend(getattr(other, verb)(each) for each in asked.ids)
        return always(said)(asked)

    initiator_of(contradict)
    orders.put_topic(topic, policy=QUICK).require(201)
    ids = [orders.prepare(topic).require(201)["id"] for _ in range(5)]

    for message_id in ids:
        await_status(orders, message_id, end)
    # The answers to these checks come after what was said; another round shows that they are in.
    later = orders.prepare(topic).require(201)["id"]
    await_status(orders, later, end)
    assert {each.status for each in heard} == {200}
    assert {orders.status(message_id) for message_id in ids} == {end}


def test_a_used_up_budget_leaves_the_message_undecided_and_a_late_confirm_still_counts(
    orders: Caller, topic: str, initiator_of: Register
) -> None:
    initiator = initiator_of(always("unknown"))
    orders.put_topic(topic, policy=QUICK).require(201)
    late, never = (orders.prepare(topic).require(201)["id"] for _ in range(2))

    for message_id in (late, never):
        await_status(orders, message_id, "undecided")

    assert len(initiator.asked_about(late)) == QUICK["checks_max"]
    assert orders.message(late)["checks"] == QUICK["checks_max"]
    assert orders.pull(topic, "default") == []
    assert orders.confirm(late).require(200)["status"] in {"pending_send", "sent"}
    assert orders.pull_one(topic, "default")["id"] == late
    assert orders.cancel(never).require(200)["status"] == "rolled_back"


def test_only_checks_that_were_made_use_budget(orders: Caller, topic: str, initiator_of: Register) -> None:
    # Given an address where nobody listens
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    orders.put(f"/v1/apps/{orders.app}", {"check_url": f"http://127.0.0.1:{port}/check", "check_signed": False})
    orders.put_topic(topic, policy=QUICK | {"check_interval_max_seconds": 60}).require(201)

    # When checks are tried for a while
    message_id = orders.prepare(topic).require(201)["id"]
    tried = eventually(lambda: orders.message(message_id), lambda now: now["error"] is not None)

    # Then none is counted, and the first that is made settles it
    assert (tried["status"], tried["checks"]) == ("pending_confirmation", 0)
    initiator = initiator_of(always("committed"), port=port)
    await_status(orders, message_id, "sent", within_seconds=40)
    assert [each["check"] for each in initiator.asked_about(message_id)] == [1]
    assert orders.message(message_id)["checks"] == 1


@pytest.mark.parametrize("listening", [False, True], ids=["no address", "nobody listens"])
def test_a_message_nobody_can_be_asked_about_ends_undecided(orders: Caller, topic: str, listening: bool) -> None:
    if listening:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        orders.put(f"/v1/apps/{orders.app}", {"check_url": url, "check_signed": False}).require(200, 201)
    orders.put_topic(topic, policy=QUICK | {"check_interval_max_seconds": 0.3}).require(201)

    message_id = orders.prepare(topic).require(201)["id"]

    await_status(orders, message_id, "undecided", within_seconds=30)
    assert orders.message(message_id)["checks"] == 0


def test_an_operator_decides_only_after_one_more_check(orders: Caller, topic: str, initiator_of: Register) -> None:
    # Given two undecided messages
    initiator = initiator_of(always("unknown"))
    orders.put_topic(topic, policy=QUICK | {"checks_max": 1}).require(201)
    known, unknown = (orders.prepare(topic).require(201)["id"] for _ in range(2))
    for message_id in (known, unknown):
        await_status(orders, message_id, "undecided")

    # When the initiator has learnt what became of one of them, and an operator errs
    initiator.answer = always("rolled_back")
    answer = orders.operate(known, "resolve", outcome="committed", reason="I believe so.")
    # Then what the initiator says wins
    assert answer.status in {200, 409}, answer
    assert orders.status(known) == "rolled_back"
    assert len(initiator.asked_about(known)) == 2

    # When nobody knows, the operator decides, and it is told who and why
    initiator.answer = always("unknown")
    orders.operate(unknown, "resolve", outcome="committed", reason="Seen in the books.").require(200)
    assert orders.pull_one(topic, "default")["id"] == unknown
    seen = orders.message(unknown)
    assert seen["resolved_by"]
    assert "Seen in the books." in str(seen["timeline"])
    # And later evidence to the contrary is refused
    orders.cancel(unknown).refused(409, code="already_confirmed")


def test_resolving_needs_a_reason_an_outcome_and_an_undecided_message(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic).require(201)["id"]

    orders.operate(message_id, "resolve", outcome="committed", reason="Sure.").refused(409)
    orders.operate(message_id, "resolve", outcome="committed").refused(422)
    orders.operate(message_id, "resolve", outcome="committed", reason=" ").refused(422)
    orders.operate(message_id, "resolve", outcome="unknown", reason="Sure.").refused(422)
    orders.operate(message_id, "resolve", reason="Sure.").refused(422)
    assert orders.status(message_id) == "pending_confirmation"


def test_a_recheck_asks_now(orders: Caller, topic: str, initiator_of: Register) -> None:
    initiator_of(always("committed"))
    message_id = orders.prepare(topic, check_after_seconds=3600).require(201)["id"]

    orders.operate(message_id, "recheck").require(200)

    await_status(orders, message_id, "sent")
    orders.operate(message_id, "recheck").refused(409)


def test_an_undecided_message_can_be_rechecked(orders: Caller, topic: str, initiator_of: Register) -> None:
    initiator = initiator_of(always("unknown"))
    orders.put_topic(topic, policy=QUICK | {"checks_max": 1}).require(201)
    message_id = orders.prepare(topic).require(201)["id"]
    await_status(orders, message_id, "undecided")

    initiator.answer = always("rolled_back")
    orders.operate(message_id, "recheck").require(200)

    await_status(orders, message_id, "rolled_back")


def test_many_messages_are_asked_about_in_one_call(orders: Caller, topic: str, initiator_of: Register) -> None:
    initiator = initiator_of(always("rolled_back"))
    items = [{"topic": topic, "payload": n, "check_after_seconds": 0.3} for n in range(250)]
    ids = [each["id"] for each in orders.batch("prepare", *items)]

    for message_id in ids:
        await_status(orders, message_id, "rolled_back", within_seconds=20)

    sizes = [len(each.checks) for each in initiator.asked]
    assert max(sizes) <= 100
    assert len(sizes) < 50, "They are asked about together."


def test_an_initiator_that_cannot_be_called_fetches_its_checks_and_answers(
    orders: Caller, billing: Caller, topic: str
) -> None:
    orders.put_topic(topic, policy=QUICK | {"check_interval_max_seconds": 60}).require(201)
    ids = [orders.prepare(topic, check_hint=f"shard-{n}").require(201)["id"] for n in range(3)]
    place = f"/v1/apps/{orders.app}/checks"

    checks: dict[str, dict[str, object]] = {}
    while set(checks) != set(ids):
        fetched = orders.post(f"{place}/pull", {"max": 2, "wait_seconds": 10}).require(200)["checks"]
        assert 1 <= len(fetched) <= 2
        checks |= {each["id"]: each for each in fetched}
    assert set(checks[ids[0]]) == {"id", "topic", "key", "hint", "prepared_at", "check"}
    assert (checks[ids[0]]["topic"], checks[ids[0]]["hint"], checks[ids[0]]["check"]) == (topic, "shard-0", 1)

    outcomes = dict(zip(ids, ["committed", "rolled_back", "unknown"], strict=True))
    results = [{"id": each, "outcome": outcome} for each, outcome in outcomes.items()]
    orders.post(place, {"results": results}).require(200)

    await_status(orders, ids[0], "sent")
    assert orders.status(ids[1]) == "rolled_back"
    assert orders.status(ids[2]) in {"pending_confirmation", "undecided"}
    # What nobody else may ask or answer
    billing.post(f"{place}/pull", {}).refused(404)
    billing.post(place, {"results": [{"id": ids[2], "outcome": "committed"}]}).refused(404)
    assert orders.status(ids[2]) in {"pending_confirmation", "undecided"}


def test_fetched_checks_use_budget(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, policy=QUICK | {"checks_max": 2, "check_interval_max_seconds": 60}).require(201)
    message_id = orders.prepare(topic).require(201)["id"]
    place = f"/v1/apps/{orders.app}/checks/pull"

    numbers = []
    while orders.status(message_id) == "pending_confirmation":
        fetched = orders.post(place, {"wait_seconds": 1}).require(200)["checks"]
        numbers += [each["check"] for each in fetched]

    assert orders.status(message_id) == "undecided"
    assert numbers == [1, 2]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http://127.0.0.1:99999/",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1/\r\nx-injected: 1",
        "http://127.0.0.1/ x",
        "http://127.0.0.1/#part",
        "http://127.0.0.1/" + "x" * 10_000,
    ],
)
def test_what_is_no_address_is_refused(orders: Caller, url: str) -> None:
    problem = orders.put(f"/v1/apps/{orders.app}", {"check_url": url}).refused(422)

    assert problem["pointer"] == "/check_url"
    orders.get(f"/v1/apps/{orders.app}").refused(404)


def test_an_answer_about_another_applications_message_changes_nothing(
    orders: Caller, billing: Caller, topic: str, initiator_of: Register
) -> None:
    foreign = billing.prepare(fresh("stock."), check_after_seconds=3600).require(201)["id"]
    orders.put_topic(topic, policy=QUICK).require(201)
    own = orders.prepare(topic).require(201)["id"]
    results = [{"id": each, "outcome": "committed"} for each in (own, foreign)]
    orders.post(f"/v1/apps/{orders.app}/checks", {"results": results})

    initiator_of(lambda asked: Reply(body=b'{"results": [{"id": "%b", "outcome": "committed"}]}' % foreign.encode()))
    await_status(orders, own, "sent", "undecided")

    assert billing.status(foreign) == "pending_confirmation"
