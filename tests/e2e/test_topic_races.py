"""What is registered and what is said about messages, at the same moment."""

from functools import partial

from tests.e2e.caller import Caller
from tests.e2e.names import fresh
from tests.e2e.node import Node
from tests.e2e.waiting import at_once, await_status, spread

ROUNDS = 15


def test_deleting_a_topic_while_it_is_published_to_loses_nothing(node: Node, orders: Caller) -> None:
    with node.caller(orders.app) as other:
        for _ in range(ROUNDS):
            topic = fresh("short.lived.")
            orders.put_topic(topic, "billing").require(201)

            deleted, published = at_once(
                partial(orders.call, "DELETE", f"/v1/topics/{topic}"),
                partial(other.prepare, topic, confirmed=True),
            )

            if published.status != 201:
                published.refused(422, code="unknown_topic")
                assert deleted.status in {200, 204}
                continue
            if deleted.status not in {200, 204}:
                deleted.refused(409, code="topic_in_use")
            message_id = published.json["id"]
            await_status(orders, message_id, "sent")
            (delivery,) = orders.message(message_id)["deliveries"]
            assert orders.pull_one(topic, delivery["subscription"])["id"] == message_id
            assert orders.complete(message_id).require(200)["status"] == "completed"


def test_dropping_a_subscription_while_a_message_is_confirmed_leaves_nothing_stuck(node: Node, orders: Caller) -> None:
    with node.caller(orders.app) as other:
        for _ in range(ROUNDS):
            topic = fresh("shrinking.")
            orders.put_topic(topic, "billing", "stock").require(201)
            message_id = orders.prepare(topic).require(201)["id"]

            dropped, confirmed = at_once(
                partial(orders.put_topic, topic, "billing", force=True), partial(other.confirm, message_id)
            )

            dropped.require(200)
            confirmed.require(200)
            assert orders.pull_one(topic, "billing")["id"] == message_id
            assert orders.complete(message_id, subscription="billing").require(200)
            await_status(orders, message_id, "completed", "failed")


def test_a_topic_prepared_to_by_many_at_once_is_made_once(node: Node, orders: Caller) -> None:
    topic = fresh("popular.")

    def prepare(number: int) -> int:
        with node.caller(orders.app) as caller:
            return caller.prepare(topic, number, confirmed=True).status

    assert spread(12, prepare) == [201] * 12
    pulled = 0
    while pulled < 12:
        pulled += len(orders.pull(topic, "default", max=100, wait_seconds=5))
    assert pulled == 12


def test_of_two_names_that_collide_at_once_one_is_refused(node: Node, orders: Caller) -> None:
    with node.caller(orders.app) as other:
        for _ in range(ROUNDS):
            name = fresh("t")
            answers = at_once(
                partial(orders.put_topic, f"{name}.a", "billing"), partial(other.put_topic, f"{name}_a", "billing")
            )
            assert sorted(each.status for each in answers) == [201, 409]


def test_an_application_registered_by_many_at_once_keeps_every_secret_it_was_shown(node: Node) -> None:
    app = fresh("hasty-")

    def register(_: int) -> tuple[int, list[str]]:
        with node.caller() as caller:
            made = caller.put(f"/v1/apps/{app}", {})
            shown = [each["id"] for each in made.require(200, 201)["secrets"] if "secret" in each]
            return made.status, shown

    answers = spread(6, register)

    assert [status for status, _ in answers].count(201) == 1
    with node.caller() as caller:
        kept = {each["id"] for each in caller.get(f"/v1/apps/{app}").require(200)["secrets"]}
    assert {each for _, shown in answers for each in shown} <= kept
    assert kept
