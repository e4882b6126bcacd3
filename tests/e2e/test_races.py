"""The schedules in which a reliable message service goes wrong: what came late, twice, too early or at once."""

import random
import threading
from functools import partial

import pytest

from tests.e2e.caller import Answer, Caller
from tests.e2e.names import DAY_SECONDS, new_id
from tests.e2e.node import Node
from tests.e2e.waiting import at_once, await_status, eventually, spread

ROUNDS = 30


def test_a_complete_right_after_the_confirm_wins_over_the_sent_mark(node: Node, orders: Caller, topic: str) -> None:
    """A consumer of an outside broker may be faster than the service's own note that the broker took the message."""
    for _ in range(ROUNDS):
        message_id = orders.prepare(topic).require(201)["id"]
        orders.confirm(message_id).require(200)
        assert orders.complete(message_id).require(200)["status"] == "completed"
        assert orders.status(message_id) == "completed"
    assert orders.pull(topic, "default", wait_seconds=0.3) == [], "What is completed is not delivered again."


def test_confirm_and_complete_at_once_end_completed_or_not_delivered(node: Node, orders: Caller, topic: str) -> None:
    with node.caller(orders.app) as consumer:
        for _ in range(ROUNDS):
            message_id = orders.prepare(topic).require(201)["id"]
            confirmed, completed = at_once(partial(orders.confirm, message_id), partial(consumer.complete, message_id))
            confirmed.require(200)
            if completed.status == 200:
                assert orders.status(message_id) == "completed"
            else:
                completed.refused(409, code="not_delivered")
                assert consumer.complete(message_id).require(200)["status"] == "completed"


def test_a_late_confirm_after_a_rollback_is_refused(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic).require(201)["id"]
    orders.cancel(message_id).require(200)

    orders.confirm(message_id).refused(409, code="rolled_back")

    assert orders.status(message_id) == "rolled_back"
    assert orders.cancel(message_id).require(200)["status"] == "rolled_back"


def test_a_late_cancel_after_a_confirm_is_refused(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic).require(201)["id"]
    orders.confirm(message_id).require(200)

    orders.cancel(message_id).refused(409, code="already_confirmed")

    assert orders.confirm(message_id).require(200)["status"] in {"pending_send", "sent"}
    orders.pull_one(topic, "default")
    orders.complete(message_id).require(200)
    orders.cancel(message_id).refused(409, code="already_confirmed")
    assert orders.confirm(message_id).require(200)["status"] == "completed"


def test_a_cancel_that_overtakes_its_prepare_leaves_a_tombstone(orders: Caller, topic: str) -> None:
    message_id = new_id()

    assert orders.cancel(message_id, reason="Gave up.").require(200)["status"] == "rolled_back"

    orders.prepare(topic, id=message_id).refused(409, code="rolled_back")
    orders.confirm(message_id).refused(409, code="rolled_back")
    assert orders.status(message_id) == "rolled_back"


@pytest.mark.parametrize(
    "message_id",
    [new_id(made_seconds_ago=8 * DAY_SECONDS), new_id(made_seconds_ago=-2 * DAY_SECONDS), "0192", new_id().upper()],
    ids=["too old", "too far ahead", "too short", "upper case"],
)
def test_a_cancel_leaves_no_tombstone_where_no_prepare_can_come(orders: Caller, message_id: str) -> None:
    orders.cancel(message_id).refused(404)
    orders.get(f"/v1/messages/{message_id}").refused(404)


def test_prepare_and_cancel_at_once_always_end_rolled_back(node: Node, orders: Caller, topic: str) -> None:
    with node.caller(orders.app) as other:
        for _ in range(ROUNDS):
            message_id = new_id()
            prepared, cancelled = at_once(
                partial(orders.prepare, topic, id=message_id), partial(other.cancel, message_id)
            )
            assert cancelled.require(200)["status"] == "rolled_back"
            if prepared.status != 201:
                prepared.refused(409, code="rolled_back")
            assert orders.status(message_id) == "rolled_back"


def test_the_same_prepare_twice_at_once_makes_one_row(node: Node, orders: Caller, topic: str) -> None:
    with node.caller(orders.app) as other:
        for number in range(ROUNDS):
            message_id = new_id()
            answers = at_once(*(partial(each.prepare, topic, number, id=message_id) for each in (orders, other)))
            assert sorted(each.status for each in answers) == [200, 201]
            assert {each.json["id"] for each in answers} == {message_id}
    assert len(orders.get("/v1/messages", topic=topic, limit=200).require(200)["messages"]) == ROUNDS


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"n": 2}},
        {"payload": {"n": 1.0}},
        {"key": "other"},
        {"headers": {"a": "2"}},
        {"content_type": "text/plain"},
        {"delay_seconds": 1},
        {"check_after_seconds": 99},
        {"check_hint": "shard-2"},
        {"confirmed": True},
    ],
    ids=lambda change: "other " + next(iter(change)),
)
def test_the_same_id_with_other_content_is_a_conflict(orders: Caller, topic: str, change: dict[str, object]) -> None:
    message_id = new_id()
    first = {"topic": topic, "id": message_id, "payload": {"n": 1}, "key": "k", "headers": {"a": "1", "b": "2"}}
    orders.post("/v1/messages", first).require(201)

    orders.post("/v1/messages", first | change).refused(409, code="id_conflict")

    again = first | {"headers": {"b": "2", "a": "1"}, "content_type": "application/json"}
    orders.post("/v1/messages", again).require(200)
    assert orders.message(message_id)["payload"] == {"n": 1}


def test_another_topic_under_the_same_id_is_a_conflict(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic, 1, id=new_id()).require(201)["id"]

    orders.prepare(topic + ".other", 1, id=message_id).refused(409, code="id_conflict")


def test_bytes_and_a_json_value_of_the_same_bytes_are_other_content(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic, 1, id=new_id()).require(201)["id"]

    same_bytes = {"topic": topic, "id": message_id, "payload_base64": "MQ==", "content_type": "application/json"}
    orders.post("/v1/messages", same_bytes).refused(409, code="id_conflict")


def test_confirm_and_cancel_at_once_have_exactly_one_winner(node: Node, orders: Caller, topic: str) -> None:
    winners = set()
    with node.caller(orders.app) as other:
        for number in range(ROUNDS):
            message_id = orders.prepare(topic).require(201)["id"]
            calls = [partial(orders.confirm, message_id), partial(other.cancel, message_id)]
            first, second = (calls, calls[::-1])[number % 2]
            answers = at_once(first, second)
            confirmed, cancelled = answers if number % 2 == 0 else answers[::-1]
            winners.add(_the_winner(orders, message_id, confirmed, cancelled))
    assert winners <= {"confirm", "cancel"}


def _the_winner(orders: Caller, message_id: str, confirmed: Answer, cancelled: Answer) -> str:
    if confirmed.status == 200:
        cancelled.refused(409, code="already_confirmed")
        await_status(orders, message_id, "sent")
        return "confirm"
    confirmed.refused(409, code="rolled_back")
    assert cancelled.require(200)["status"] == "rolled_back"
    assert orders.status(message_id) == "rolled_back"
    return "cancel"


def test_complete_and_fail_at_once_have_exactly_one_winner(node: Node, orders: Caller, topic: str) -> None:
    with node.caller(orders.app) as other:
        for _ in range(ROUNDS):
            message_id = orders.publish(topic)
            await_status(orders, message_id, "sent")
            completed, failed = at_once(partial(orders.complete, message_id), partial(other.fail, message_id))
            assert sorted([completed.status, failed.status]) == [200, 409]
            assert orders.status(message_id) == ("completed" if completed.status == 200 else "failed")


def test_complete_and_discard_at_once_have_exactly_one_winner(node: Node, orders: Caller, topic: str) -> None:
    with node.caller() as operator:
        for _ in range(ROUNDS // 2):
            message_id = orders.publish(topic)
            completed, discarded = at_once(
                partial(orders.complete, message_id), partial(operator.operate, message_id, "discard", reason="Old.")
            )
            assert sorted([completed.status, discarded.status]) == [200, 409]
            assert orders.status(message_id) == ("completed" if completed.status == 200 else "failed")


def test_a_settled_message_keeps_its_first_report(orders: Caller, topic: str) -> None:
    done, refused = orders.publish(topic), orders.publish(topic)
    orders.complete(done).require(200)
    orders.fail(refused, reason="No such customer.").require(200)

    assert orders.complete(done).require(200)["status"] == "completed"
    orders.fail(done).refused(409)
    assert orders.fail(refused).require(200)["status"] == "failed"
    orders.complete(refused).refused(409)
    assert (orders.status(done), orders.status(refused)) == ("completed", "failed")


def test_nothing_can_be_reported_before_it_was_confirmed(orders: Caller, topic: str) -> None:
    waiting = orders.prepare(topic).require(201)["id"]
    gone = orders.prepare(topic).require(201)["id"]
    orders.cancel(gone).require(200)

    for message_id in (waiting, gone):
        orders.complete(message_id).refused(409, code="not_delivered")
        orders.fail(message_id).refused(409, code="not_delivered")
    assert (orders.status(waiting), orders.status(gone)) == ("pending_confirmation", "rolled_back")


def test_an_unknown_id_is_404_for_confirm_complete_and_fail(orders: Caller) -> None:
    unknown = new_id()

    for answer in (orders.confirm(unknown), orders.complete(unknown), orders.fail(unknown)):
        answer.refused(404)
    orders.get(f"/v1/messages/{unknown}").refused(404)


@pytest.mark.parametrize(("made_seconds_ago", "fits"), [(8, False), (6.9, True), (-0.9, True), (-2, False)])
def test_an_id_may_be_a_week_old_and_a_day_ahead(
    orders: Caller, topic: str, made_seconds_ago: float, fits: bool
) -> None:
    answer = orders.prepare(topic, id=new_id(made_seconds_ago * DAY_SECONDS))

    if fits:
        answer.require(201)
    else:
        problem = answer.refused(422, code="id_out_of_range")
        assert problem["pointer"] == "/id"


@pytest.mark.parametrize(
    "wrong_id",
    [
        new_id().upper(),
        new_id().replace("-", ""),
        "{" + new_id() + "}",
        "8a6e0804-2bd0-4672-b79d-d97027f9071a",
        "",
        "7",
    ],
    ids=["upper case", "no dashes", "braces", "version 4", "empty", "short"],
)
def test_an_id_that_is_no_lower_case_uuidv7_is_refused(orders: Caller, topic: str, wrong_id: str) -> None:
    problem = orders.prepare(topic, id=wrong_id).refused(422)
    assert problem["pointer"] == "/id"


def test_an_id_is_taken_for_every_application(orders: Caller, billing: Caller, topic: str) -> None:
    message_id = orders.prepare(topic, 1, id=new_id()).require(201)["id"]

    billing.prepare(topic, 1, id=message_id).refused(409, code="id_conflict")

    assert orders.message(message_id)["app"] == orders.app


def test_the_tombstone_of_one_application_does_not_bury_for_another_in_silence(
    orders: Caller, billing: Caller, topic: str
) -> None:
    message_id = new_id()
    billing.cancel(message_id).require(200)

    orders.prepare(topic, id=message_id).refused(409)

    orders.get(f"/v1/messages/{message_id}").refused(404)


def test_another_applications_message_does_not_exist(orders: Caller, billing: Caller, topic: str) -> None:
    orders.put_topic(topic, "own").require(201)
    message_id = orders.publish(topic)
    pending = orders.prepare(topic).require(201)["id"]

    answers = [
        billing.get(f"/v1/messages/{message_id}"),
        billing.confirm(pending),
        billing.cancel(pending),
        billing.complete(message_id),
        billing.complete(message_id, subscription="own"),
        billing.fail(message_id),
        billing.pull_answer(topic, "own"),
        billing.operate(message_id, "redeliver"),
        billing.operate(message_id, "discard", reason="Mine."),
        billing.operate(pending, "recheck"),
        billing.operate(pending, "resolve", outcome="committed", reason="Mine."),
    ]

    for answer in answers:
        answer.refused(404)
    unknown = billing.get(f"/v1/messages/{new_id()}").refused(404)
    assert set(unknown) == set(answers[0].json), "A foreign message must look like one that never was."
    for verb in ("confirm", "cancel", "complete", "status"):
        assert billing.batch(verb, {"id": pending})[0]["error"]["code"] == unknown["code"]
    assert billing.get("/v1/messages", topic=topic).require(200)["messages"] == []
    assert billing.get("/v1/stats").require(200)["messages"] == []
    assert orders.status(pending) == "pending_confirmation"


def test_whoever_names_no_application_reads_and_operates_on_everything(
    orders: Caller, operator: Caller, topic: str
) -> None:
    orders.put_topic(topic, "own").require(201)
    message_id = orders.publish(topic)
    pending = orders.prepare(topic).require(201)["id"]

    assert operator.status(pending) == "pending_confirmation"
    listed = operator.get("/v1/messages", topic=topic).require(200)["messages"]
    assert {each["id"] for each in listed} == {message_id, pending}
    operator.operate(message_id, "discard", reason="Not wanted.").require(200)
    assert orders.status(message_id) == "failed"
    # What only the initiator or the consumer may say, it may not.
    operator.confirm(pending).refused(404)
    operator.cancel(pending).refused(404)
    operator.pull_answer(topic, "own").refused(404)


def test_many_callers_on_a_few_messages_agree_on_one_end(node: Node, orders: Caller, topic: str) -> None:
    """Eight callers say everything about five messages at once: no 5xx, and every end fits every answer."""
    ids = [orders.prepare(topic).require(201)["id"] for _ in range(5)]
    heard: list[tuple[str, str, int]] = []
    lock = threading.Lock()

    def talk(number: int) -> None:
        chance = random.Random(number)
        with node.caller(orders.app) as caller:
            for _ in range(40):
                message_id, verb = chance.choice(ids), chance.choice(["confirm", "cancel", "complete", "fail"])
                answer = getattr(caller, verb)(message_id)
                assert answer.status in {200, 409}, answer
                with lock:
                    heard.append((message_id, verb, answer.status))

    spread(8, talk)

    for message_id in ids:
        said = {verb for each, verb, status in heard if each == message_id and status == 200}
        status = eventually(
            partial(orders.status, message_id),
            lambda now: now != "pending_send",
        )
        allowed = {
            "rolled_back": {"cancel"},
            "completed": {"confirm", "complete"},
            "failed": {"confirm", "fail"},
            "sent": {"confirm"},
            "pending_confirmation": set(),
        }
        assert said <= allowed[status], f"{message_id} is {status}, but {said} were acknowledged."
