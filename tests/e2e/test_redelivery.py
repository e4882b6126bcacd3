"""Delivery by pull: attempts, budgets, waiting, delay and pause."""

import itertools
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.caller import Caller
from tests.e2e.node import Node
from tests.e2e.raw_http import Wire, request
from tests.e2e.waiting import InBackground, await_status, eventually, ids_of, spread

# Everything the service waits for may be jittered by up to a fifth.
JITTER = 0.2
# How late something may come on a busy machine.
LATE_SECONDS = 3.0


def test_what_was_pulled_and_not_reported_comes_again_in_its_time(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.6, 1.2]}).require(201)
    orders.publish(topic, "bill")
    first = orders.pull_one(topic, "billing")
    pulled_at = time.monotonic()

    assert orders.pull(topic, "billing") == [], "It is hidden from everybody now."
    second = orders.pull_one(topic, "billing")
    waited = time.monotonic() - pulled_at
    third = orders.pull_one(topic, "billing")
    waited_again = time.monotonic() - pulled_at - waited

    assert [each["attempt"] for each in (first, second, third)] == [1, 2, 3]
    assert {each["id"] for each in (first, second, third)} == {first["id"]}
    assert 0.6 * (1 - JITTER) < waited < 0.6 * (1 + JITTER) + LATE_SECONDS
    assert 1.2 * (1 - JITTER) < waited_again < 1.2 * (1 + JITTER) + LATE_SECONDS
    assert orders.complete(first["id"]).require(200)["status"] == "completed"
    assert orders.message(first["id"])["attempts"] == 3


def test_a_used_up_budget_parks_the_message_and_an_operator_may_renew_it(orders: Caller, topic: str) -> None:
    # Given a message whose two attempts nobody reported
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.1], "deliveries_max": 2}).require(201)
    message_id = orders.publish(topic)
    attempts = [orders.pull_one(topic, "billing")["attempt"] for _ in range(2)]
    assert attempts == [1, 2]

    # Then the last attempt still has its time before it is parked
    assert orders.status(message_id) == "sent"
    await_status(orders, message_id, "undelivered")
    assert orders.pull(topic, "billing", wait_seconds=0.2) == []
    assert orders.message(message_id)["error"]

    # When an operator has it delivered again, its budget is fresh
    orders.operate(message_id, "redeliver", reason="The consumer is repaired.").require(200)
    again = orders.pull_one(topic, "billing")
    assert (again["id"], again["attempt"]) == (message_id, 1)
    assert orders.complete(message_id).require(200)["status"] == "completed"
    assert "The consumer is repaired." in str(orders.message(message_id)["timeline"])


def test_a_report_about_a_parked_message_still_counts(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.05], "deliveries_max": 1}).require(201)
    ids = [orders.publish(topic) for _ in range(3)]
    assert len(orders.pull(topic, "billing", max=10, wait_seconds=5)) >= 1
    while orders.pull(topic, "billing", max=10, wait_seconds=0.3):
        pass
    for message_id in ids:
        await_status(orders, message_id, "undelivered")

    assert orders.complete(ids[0]).require(200)["status"] == "completed"
    assert orders.fail(ids[1]).require(200)["status"] == "failed"
    assert orders.operate(ids[2], "discard", reason="Not wanted.").require(200)["status"] == "failed"


def test_what_nobody_pulls_uses_no_budget(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.05], "deliveries_max": 1}).require(201)
    message_id = orders.publish(topic)
    # A message that used its budget up shows that the time for it has passed.
    other = orders.publish(topic + ".other")
    orders.put_topic(topic + ".other", policy={"redelivery_seconds": [0.05], "deliveries_max": 1}).require(200)
    orders.pull_one(topic + ".other", "default")
    await_status(orders, other, "undelivered")

    seen = orders.message(message_id)
    assert (seen["status"], seen["attempts"]) == ("sent", 0)
    assert orders.pull_one(topic, "billing")["attempt"] == 1


def test_redelivering_what_is_sent_makes_it_due_now(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [3600]}).require(201)
    message_id = orders.publish(topic)
    orders.pull_one(topic, "billing")
    assert orders.pull(topic, "billing") == []

    orders.operate(message_id, "redeliver").require(200)

    assert orders.pull_one(topic, "billing")["attempt"] == 2


def test_redelivering_what_is_delayed_delivers_it_now(orders: Caller, topic: str) -> None:
    message_id = orders.publish(topic, delay_seconds=3600)

    orders.operate(message_id, "redeliver").require(200)

    assert orders.pull_one(topic, "default")["attempt"] == 1


def test_redelivering_what_failed_makes_a_new_linked_message_once(orders: Caller, topic: str) -> None:
    message_id = orders.publish(topic, {"n": 1}, key="k", headers={"a": "1"})
    orders.pull_one(topic, "default")
    orders.fail(message_id, reason="No such customer.").require(200)

    replay = orders.operate(message_id, "redeliver").require(200, 201)["id"]
    assert orders.operate(message_id, "redeliver").require(200)["id"] == replay

    assert replay != message_id
    again = orders.pull_one(topic, "default")
    assert (again["id"], again["payload"], again["key"], again["headers"]) == (replay, {"n": 1}, "k", {"a": "1"})
    assert again["attempt"] == 1
    assert orders.pull(topic, "default") == []
    assert orders.operate(message_id, "redeliver").require(200)["id"] == replay
    orders.complete(replay).require(200)
    assert orders.message(replay)["replay_of"] == message_id
    assert (orders.status(message_id), orders.status(replay)) == ("failed", "completed")
    assert orders.operate(message_id, "redeliver").require(200, 201)["id"] not in {message_id, replay}


def test_redelivering_at_once_makes_one_replay(node: Node, orders: Caller, topic: str) -> None:
    message_id = orders.publish(topic)
    orders.fail(message_id).require(200)

    def redeliver(_: int) -> str:
        with node.caller(orders.app) as caller:
            replay: str = caller.operate(message_id, "redeliver").require(200, 201)["id"]
            return replay

    assert len(set(spread(4, redeliver))) == 1


def test_redelivering_what_is_completed_needs_the_subscriptions(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", "stock").require(201)
    message_id = orders.publish(topic)
    for name in ("billing", "stock"):
        orders.complete(message_id, subscription=name).require(200)

    orders.operate(message_id, "redeliver").refused(409, 422)
    orders.operate(message_id, "redeliver", subscriptions=["other"]).refused(422, code="unknown_subscription")
    replay = orders.operate(message_id, "redeliver", subscriptions=["stock"]).require(200, 201)["id"]

    assert orders.pull_one(topic, "stock")["id"] == replay
    assert orders.pull(topic, "billing", wait_seconds=0.2) == []
    orders.complete(replay).require(200)
    assert orders.status(replay) == "completed"


def test_what_is_not_confirmed_or_rolled_back_is_not_redelivered(orders: Caller, topic: str) -> None:
    pending = orders.prepare(topic).require(201)["id"]
    gone = orders.prepare(topic).require(201)["id"]
    orders.cancel(gone).require(200)

    for message_id in (pending, gone):
        orders.operate(message_id, "redeliver").refused(409)
        orders.operate(message_id, "discard", reason="Not wanted.").refused(409)


def test_a_discarded_message_is_not_delivered_any_more(orders: Caller, topic: str) -> None:
    sent, delayed = orders.publish(topic), orders.publish(topic, delay_seconds=3600)
    await_status(orders, sent, "sent")

    for message_id in (sent, delayed):
        orders.operate(message_id, "discard").refused(422)
        orders.operate(message_id, "discard", reason="Not wanted.").require(200)
        seen = orders.message(message_id)
        assert seen["status"] == "failed"
        assert "Not wanted." in str(seen["timeline"])
    assert orders.pull(topic, "default", wait_seconds=0.2) == []
    orders.complete(sent).refused(409)


def test_two_pullers_never_hold_the_same_attempt(node: Node, orders: Caller, topic: str) -> None:
    """Eight pullers on attempts that end at once: each attempt is held once, and never before the last one ended."""
    redelivery_seconds = 0.4
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [redelivery_seconds], "deliveries_max": 1000})
    items = [{"topic": topic, "payload": n, "confirmed": True} for n in range(150)]
    ids = {each["id"] for each in orders.batch("prepare", *items)}
    until = time.monotonic() + 2.5

    def pull(number: int) -> list[tuple[str, int, float, float]]:
        held = []
        with node.caller(orders.app) as puller:
            while time.monotonic() < until:
                began = time.monotonic()
                messages = puller.pull(topic, "billing", max=1 + number * 4, wait_seconds=0.2)
                ended = time.monotonic()
                held += [(each["id"], each["attempt"], began, ended) for each in messages]
        return held

    held = sorted(each for part in spread(8, pull) for each in part)

    assert {each[0] for each in held} == ids
    assert len({each[:2] for each in held}) == len(held), "Somebody else held the same attempt."
    assert max(each[1] for each in held) >= 3
    for earlier, later in itertools.pairwise(held):
        if earlier[0] == later[0]:
            assert later[1] == earlier[1] + 1
            # The service counts from a moment between the call and its answer.
            assert later[3] - earlier[2] > redelivery_seconds * (1 - JITTER)


def test_a_long_poll_returns_as_soon_as_there_is_something(node: Node, orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    message_id = orders.prepare(topic).require(201)["id"]
    with node.caller(orders.app) as consumer, InBackground(lambda: consumer.pull_one(topic, "billing", 20)) as poll:
        time.sleep(0.5)
        assert not poll.done
        confirmed_at = time.monotonic()
        orders.confirm(message_id).require(200)
        assert poll.result()["id"] == message_id
        assert time.monotonic() - confirmed_at < 1.0


def test_a_long_poll_whose_client_hung_up_takes_nothing(node: Node, orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [3600]}).require(201)
    path = f"/v1/topics/{topic}/subscriptions/billing/pull"
    for _ in range(3):
        with Wire(node.port) as gone:
            gone.send(request("POST", path, b'{"wait_seconds": 20}', f"AfterCommit-App: {orders.app}"))
            time.sleep(0.2)
    time.sleep(0.1)

    message_id = orders.publish(topic)

    pulled = orders.pull_one(topic, "billing", 3)
    assert (pulled["id"], pulled["attempt"]) == (message_id, 1)


def test_a_long_poll_returns_empty_when_its_time_is_up(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    began = time.monotonic()

    assert orders.pull(topic, "billing", wait_seconds=0.7) == []

    assert 0.6 < time.monotonic() - began < 0.7 + LATE_SECONDS


def test_of_many_long_polls_one_gets_the_message(node: Node, orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)

    def poll(number: int) -> list[str]:
        with node.caller(orders.app) as caller:
            if number == 0:
                time.sleep(0.3)
                return [caller.publish(topic)]
            return ids_of(caller.pull(topic, "billing", max=10, wait_seconds=1))

    published, *pulled = spread(24, poll)

    assert sorted(each for part in pulled for each in part) == published


@pytest.mark.parametrize("wrong", [{"max": 0}, {"max": 101}, {"wait_seconds": 31}, {"wait_seconds": -1}, {"max": 1.5}])
def test_a_pull_keeps_to_its_limits(orders: Caller, topic: str, wrong: dict[str, object]) -> None:
    orders.put_topic(topic, "billing").require(201)
    orders.pull_answer(topic, "billing", **wrong).refused(422)


def test_a_pull_brings_no_more_than_asked_for(orders: Caller, topic: str) -> None:
    ids = [orders.publish(topic, n) for n in range(5)]
    for message_id in ids:
        await_status(orders, message_id, "sent")

    first = orders.pull(topic, "default", max=3)
    rest = orders.pull(topic, "default", max=3)

    assert (len(first), len(rest)) == (3, 2)
    assert sorted(ids_of(first + rest)) == sorted(ids)


def test_a_delayed_message_waits(orders: Caller, topic: str) -> None:
    began = time.monotonic()
    message_id = orders.publish(topic, delay_seconds=1.0)

    assert orders.pull(topic, "default") == []
    assert orders.status(message_id) == "pending_send"
    assert orders.pull_one(topic, "default")["id"] == message_id
    assert 1.0 < time.monotonic() - began < 1.0 + LATE_SECONDS


def test_the_delay_counts_from_prepare(orders: Caller, topic: str) -> None:
    message_id = orders.prepare(topic, delay_seconds=0.5).require(201)["id"]
    time.sleep(0.6)
    assert orders.pull(topic, "default") == []

    confirmed_at = time.monotonic()
    orders.confirm(message_id).require(200)

    orders.pull_one(topic, "default")
    assert time.monotonic() - confirmed_at < 0.4


def test_a_message_may_name_the_time_of_its_delivery(orders: Caller, topic: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1)
    later = orders.publish(topic, "later", deliver_at=at.isoformat())
    past = orders.publish(topic, "past", deliver_at="2020-01-01T00:00:00+02:00")

    assert orders.pull_one(topic, "default")["id"] == past
    assert orders.pull_one(topic, "default")["id"] == later
    assert datetime.now(UTC) > at


def test_a_paused_topic_delivers_nothing_and_takes_everything(node: Node, orders: Caller, topic: str) -> None:
    # Given a topic with a message that is out, paused
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.1], "deliveries_max": 100}).require(201)
    out = orders.publish(topic, "out")
    orders.pull_one(topic, "billing")
    assert orders.post(f"/v1/topics/{topic}/pause").require(200)["paused"] is True

    # When more is prepared, confirmed and reported
    held = orders.prepare(topic, "held").require(201)["id"]
    orders.confirm(held).require(200)
    reported = orders.publish(topic, "reported")
    assert orders.complete(reported).require(200)["status"] == "completed"

    # Then nothing is sent or delivered
    assert orders.pull(topic, "billing", wait_seconds=0.5) == []
    assert orders.status(held) == "pending_send"

    # Until the topic is resumed, also for those who wait
    with node.caller(orders.app) as consumer, InBackground(lambda: consumer.pull_one(topic, "billing", 20)) as poll:
        assert orders.post(f"/v1/topics/{topic}/resume").require(200)["paused"] is False
        found = {poll.result(5)["id"]}
    while found != {out, held}:
        found.add(orders.pull_one(topic, "billing")["id"])
    assert orders.get(f"/v1/topics/{topic}").require(200)["paused"] is False


def test_a_new_policy_counts_for_what_is_already_there(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.1], "deliveries_max": 1}).require(201)
    message_id = orders.publish(topic)
    orders.pull_one(topic, "billing")
    orders.put_topic(topic, "billing", policy={"redelivery_seconds": [0.1], "deliveries_max": 3}).require(200)

    assert orders.pull_one(topic, "billing")["attempt"] == 2
    assert orders.status(message_id) == "sent"
    eventually(lambda: orders.message(message_id)["attempts"], lambda attempts: attempts == 2)
