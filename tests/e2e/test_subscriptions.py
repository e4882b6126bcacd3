"""Topics are data: several subscriptions of a message, who owns them, and what may be changed when."""

import pytest

from tests.e2e.caller import Caller
from tests.e2e.names import fresh
from tests.e2e.waiting import await_status


@pytest.fixture
def shared_topic(orders: Caller, billing: Caller, topic: str) -> str:
    """A topic with a subscription of each application."""
    orders.put_topic(topic, "stock", {"name": "billing", "app": billing.app}).require(201)
    return topic


def test_a_message_shows_the_first_status_of_its_deliveries(orders: Caller, billing: Caller, shared_topic: str) -> None:
    done, refused = orders.publish(shared_topic), orders.publish(shared_topic)
    for message_id in (done, refused):
        await_status(orders, message_id, "sent")

    assert billing.complete(done).require(200)["status"] == "sent"
    assert orders.complete(done).require(200)["status"] == "completed"
    assert billing.fail(refused).require(200)["status"] == "sent"
    assert orders.complete(refused).require(200)["status"] == "failed"

    deliveries = {each["subscription"]: each["status"] for each in orders.message(refused)["deliveries"]}
    assert deliveries == {"stock": "completed", "billing": "failed"}


def test_every_subscription_gets_every_message(orders: Caller, billing: Caller, shared_topic: str) -> None:
    message_id = orders.publish(shared_topic, "for both")

    assert orders.pull_one(shared_topic, "stock")["id"] == message_id
    assert billing.pull_one(shared_topic, "billing")["id"] == message_id


def test_each_subscription_has_attempts_and_budgets_of_its_own(orders: Caller, topic: str) -> None:
    policy = {"redelivery_seconds": [0.1], "deliveries_max": 1}
    orders.put_topic(topic, {"name": "hasty", "policy": policy}, "calm").require(201)
    message_id = orders.publish(topic)
    orders.pull_one(topic, "hasty")
    orders.complete(message_id, subscription="calm").require(200)

    await_status(orders, message_id, "undelivered")
    deliveries = {each["subscription"]: each for each in orders.message(message_id)["deliveries"]}
    assert (deliveries["hasty"]["attempts"], deliveries["calm"]["attempts"]) == (1, 0)

    orders.operate(message_id, "redeliver").require(200)
    assert orders.pull_one(topic, "hasty")["attempt"] == 1
    assert orders.pull(topic, "calm", wait_seconds=0.2) == [], "What is completed is not delivered again."


def test_only_the_owner_of_a_subscription_pulls_and_reports(orders: Caller, billing: Caller, shared_topic: str) -> None:
    message_id = orders.publish(shared_topic)
    await_status(orders, message_id, "sent")

    orders.pull_answer(shared_topic, "billing").refused(404)
    billing.pull_answer(shared_topic, "stock").refused(404)
    orders.complete(message_id, subscription="billing").refused(404)
    billing.fail(message_id, subscription="stock").refused(404)
    assert billing.status(message_id) == "sent", "A consumer may see what is delivered to it."
    billing.confirm(message_id).refused(404)
    billing.cancel(message_id).refused(404)


def test_the_subscription_must_be_named_where_several_are_the_callers(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", "stock").require(201)
    message_id = orders.publish(topic)

    orders.complete(message_id).refused(422)

    assert orders.complete(message_id, subscription="stock").require(200)["status"] in {"pending_send", "sent"}
    assert orders.complete(message_id, subscription="billing").require(200)["status"] == "completed"


def test_a_subscription_the_message_does_not_have_is_refused(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    message_id = orders.publish(topic)

    orders.complete(message_id, subscription="stock").refused(422, code="unknown_subscription")
    orders.fail(message_id, subscription="stock").refused(422, code="unknown_subscription")


def test_a_subscription_added_later_reports_without_effect(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    confirmed, unconfirmed = orders.publish(topic), orders.prepare(topic).require(201)["id"]
    orders.put_topic(topic, "billing", "stock").require(200)

    assert orders.complete(confirmed, subscription="stock").require(200)["status"] in {"pending_send", "sent"}
    assert orders.fail(confirmed, subscription="stock").require(200)["status"] in {"pending_send", "sent"}
    assert orders.complete(confirmed, subscription="billing").require(200)["status"] == "completed"

    # The subscriptions of a message are fixed when it becomes pending_send.
    orders.confirm(unconfirmed).require(200)
    assert orders.pull_one(topic, "stock")["id"] == unconfirmed
    assert len(orders.message(unconfirmed)["deliveries"]) == 2
    assert len(orders.message(confirmed)["deliveries"]) == 1


def test_a_topic_without_subscriptions_delivers_to_an_implicit_one(orders: Caller, topic: str) -> None:
    orders.put_topic(topic).require(201)
    message_id = orders.publish(topic)

    assert orders.pull_one(topic, "default")["id"] == message_id
    assert orders.complete(message_id).require(200)["status"] == "completed"


@pytest.mark.parametrize(
    ("first", "second"),
    [(("shop.a", "x"), ("shop_a", "x")), (("shop-a", "b__c"), ("shop-a__b", "c"))],
    ids=["dot and underscore", "double underscore"],
)
def test_two_subscriptions_may_not_have_one_name_at_a_broker(
    orders: Caller, first: tuple[str, str], second: tuple[str, str]
) -> None:
    prefix = fresh("t")
    orders.put_topic(prefix + first[0], first[1]).require(201)

    orders.put_topic(prefix + second[0], second[1]).refused(409, code="name_collision")

    orders.get(f"/v1/topics/{prefix}{second[0]}").refused(404)
    orders.put_topic(prefix + second[0], "another").require(201)


def test_a_subscription_with_open_deliveries_is_dropped_only_by_force(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", "stock").require(201)
    message_id = orders.publish(topic)
    await_status(orders, message_id, "sent")
    orders.complete(message_id, subscription="billing").require(200)

    orders.put_topic(topic, "billing").refused(409, code="subscription_in_use")
    assert orders.status(message_id) == "sent"
    assert orders.pull_one(topic, "stock")["id"] == message_id

    orders.put_topic(topic, "billing", force=True).require(200)
    assert await_status(orders, message_id, "failed", "completed") == "failed"
    orders.pull_answer(topic, "stock").refused(404)
    names = [each["name"] for each in orders.get(f"/v1/topics/{topic}").require(200)["subscriptions"]]
    assert names == ["billing"]


def test_a_subscription_without_open_deliveries_is_dropped_at_once(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing", "stock").require(201)
    message_id = orders.publish(topic)
    for name in ("billing", "stock"):
        orders.complete(message_id, subscription=name).require(200)

    orders.put_topic(topic, "billing").require(200)


def test_a_topic_with_live_messages_is_not_deleted(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, "billing").require(201)
    message_id = orders.prepare(topic, "kept").require(201)["id"]
    orders.call("DELETE", f"/v1/topics/{topic}").refused(409, code="topic_in_use")
    orders.confirm(message_id).require(200)
    orders.call("DELETE", f"/v1/topics/{topic}").refused(409, code="topic_in_use")
    orders.complete(message_id).require(200)

    assert orders.call("DELETE", f"/v1/topics/{topic}").status in {200, 204}

    orders.get(f"/v1/topics/{topic}").refused(404)
    orders.pull_answer(topic, "billing").refused(404)
    assert (orders.message(message_id)["topic"], orders.status(message_id)) == (topic, "completed")
    # The name is free again, and the new topic has nothing of the old one.
    orders.put_topic(topic, "billing").require(201)
    assert orders.pull(topic, "billing", wait_seconds=0.2) == []
    orders.publish(topic)
    orders.pull_one(topic, "billing")


def test_an_undelivered_message_keeps_its_topic(orders: Caller, topic: str) -> None:
    orders.put_topic(topic, policy={"redelivery_seconds": [0.05], "deliveries_max": 1}).require(201)
    message_id = orders.publish(topic)
    orders.pull_one(topic, "default")
    await_status(orders, message_id, "undelivered")

    orders.call("DELETE", f"/v1/topics/{topic}").refused(409, code="topic_in_use")


@pytest.mark.parametrize("name", ["-a", ".a", "a b", "a/b", "ä", "a" * 129, "%00", "a%0A"])
def test_a_topic_has_a_plain_name(orders: Caller, name: str) -> None:
    path = name if "%" in name else name.replace(" ", "%20").replace("/", "%2F").replace("ä", "%C3%A4")
    orders.put(f"/v1/topics/{path}", {}).refused(400, 404, 422)
    if "%" not in name:
        orders.prepare(name).refused(422)


@pytest.mark.parametrize("name", ["-a", "a.b", "a b", "", "a" * 65, "a\u0000", "\ud800"])
def test_a_subscription_has_a_plain_name_without_dots(orders: Caller, topic: str, name: str) -> None:
    orders.put_topic(topic, name).refused(400, 422)
    orders.get(f"/v1/topics/{topic}").refused(404)


@pytest.mark.parametrize(
    "policy",
    [
        {"deliveries_max": 0},
        {"deliveries_max": "3"},
        {"deliveries_max": 2**63},
        {"redelivery_seconds": []},
        {"redelivery_seconds": [-1]},
        {"redelivery_seconds": ["x"]},
        {"checks_max": -1},
        {"check_after_seconds": 2**63},
        {"retention_seconds": -1},
        {"patience": 1},
    ],
    ids=str,
)
def test_a_policy_without_sense_is_refused(orders: Caller, topic: str, policy: dict[str, object]) -> None:
    orders.put_topic(topic, policy=policy).refused(422)
    orders.put_topic(topic, {"name": "billing", "policy": policy}).refused(422)
    orders.get(f"/v1/topics/{topic}").refused(404)
