"""The promise as one assertion: it holds for a right publisher at every crash, and finds each planted bug."""

from collections import Counter

import pytest

from aftercommit.sdk import PulledMessage
from aftercommit.sdk.consumer.receipts import Fail
from aftercommit.sdk.transactions.points import Point
from aftercommit.testing import CRASH_POINTS, InMemoryService
from tests.testing.shop import TOPIC, BillsTwice, Declined, Forgets, PublishesEarly, PublishesLate, Shop


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_right_publisher_is_consistent_wherever_it_crashes(service: InMemoryService, point: Point):
    shop = _shop(Shop, service)
    with service.crash_at(point):
        shop.order("42")

    _require_consistent(shop)
    assert shop.committed == ({"42"} if point not in CRASH_POINTS[:3] else set())


@pytest.mark.parametrize("point", CRASH_POINTS[-4:])
def test_a_consumer_that_crashes_is_consistent(service: InMemoryService, point: Point):
    shop = _shop(Shop, service)
    shop.order("42")
    with service.crash_at(point) as crash:
        service.drain(shop.bill)

    assert crash.happened
    _require_consistent(shop)
    assert shop.billed == {"42": 1}


def test_declined_and_committed_orders_live_side_by_side(service: InMemoryService):
    shop = _shop(Shop, service)
    shop.order("1")
    with pytest.raises(Declined):
        shop.order("2", declined=True)
    with service.unreachable(), pytest.raises(Exception, match="No answer"):
        shop.order("3")
    with service.lose_answers("confirm"):
        shop.order("4")

    _require_consistent(shop)
    assert shop.committed == {"1", "4"} == set(shop.billed)
    service.assert_settled()


def test_a_publisher_that_sends_before_commit_is_found_by_its_phantom(service: InMemoryService):
    shop = _shop(PublishesEarly, service)
    with pytest.raises(Declined):
        shop.order("42", declined=True)

    with pytest.raises(AssertionError) as failure:
        _require_consistent(shop)

    assert "1 offence" in str(failure.value)
    assert "PHANTOM: delivered, though its transaction did not commit: orders.created" in str(failure.value)
    assert "key='42'" in str(failure.value)


def test_a_publisher_that_sends_after_commit_is_found_by_its_loss(service: InMemoryService):
    shop = _shop(PublishesLate, service)
    with service.crash_at(Point.AFTER_COMMIT):
        shop.order("42")

    with pytest.raises(AssertionError, match="LOST: '42' committed, and no message of it is delivered"):
        _require_consistent(shop)


def test_a_publisher_that_forgets_is_found_by_what_stays_undecided(service: InMemoryService):
    shop = _shop(Forgets, service)
    shop.order("42")

    with pytest.raises(AssertionError) as failure:
        _require_consistent(shop)

    assert "UNDECIDED: nobody could say what became of its transaction" in str(failure.value)
    assert "The last check without an answer, of orders: the answer leaves it out" in str(failure.value)


def test_a_source_that_answers_wrongly_is_found_by_its_loss(service: InMemoryService):
    shop = _shop(Forgets, service)
    service.answer_checks_with(lambda checks: dict.fromkeys((each.id for each in checks), "rolled_back"))
    shop.order("42")

    with pytest.raises(AssertionError, match="LOST: '42' committed"):
        _require_consistent(shop)
    with pytest.raises(AssertionError, match="LOST: its transaction committed, and it was rolled back"):
        service.assert_consistent(TOPIC, committed=lambda message: message.key in shop.committed)


def test_a_consumer_that_counts_every_attempt_is_found_by_its_duplicate(service: InMemoryService):
    shop = _shop(BillsTwice, service)
    shop.order("42")

    with pytest.raises(AssertionError) as failure:
        _require_consistent(shop)

    assert "DUPLICATE: '42' had its effect 2 times, for 1 delivered messages" in str(failure.value)
    assert "1 retry_later" in str(failure.value)


def test_an_effect_that_never_happens_is_found_with_the_handlers_error(service: InMemoryService):
    shop = _shop(Shop, service)
    shop.order("42")

    def stumble(_message: PulledMessage) -> None:
        raise ConnectionError("the bank is closed")

    with pytest.raises(AssertionError) as failure:
        service.assert_consistent(TOPIC, committed={"42"}, effects=shop.billed, consumer=stumble)

    assert "NO EFFECT: '42' had its effect 0 times" in str(failure.value)
    assert "12 retry_later" in str(failure.value)
    assert "ConnectionError: the bank is closed" in str(failure.value)


def test_an_effect_without_a_message_is_a_phantom(service: InMemoryService):
    with pytest.raises(AssertionError, match="PHANTOM EFFECT: '43'"):
        service.assert_consistent(committed=set(), effects={"43": 1})


def test_what_the_consumer_refuses_and_what_is_not_due_need_no_effect(service: InMemoryService):
    client = service.client()
    client.prepare(TOPIC, 1, key="refused", confirmed=True)
    client.prepare(TOPIC, 1, key="next month", confirmed=True, delay_seconds=20 * 24 * 3600)
    assert service.drain(lambda message: Fail("no")).counts == {"failed": 1}

    service.assert_consistent(committed={"refused", "next month"}, effects=Counter(), consumer=print)


def test_effects_may_be_read_after_healing(service: InMemoryService):
    shop = _shop(Shop, service)
    shop.order("42")
    service.assert_consistent(committed=shop.committed, effects=lambda: shop.billed, consumer=shop.bill)


def test_units_may_be_named_by_another_rule(service: InMemoryService):
    service.client().prepare(TOPIC, {"order": 7}, confirmed=True)
    service.assert_consistent(committed={"7"}, unit=lambda message: str(message.json()["order"]))


def test_a_consumer_of_one_subscription_is_judged_by_that_one(service: InMemoryService):
    shop = _shop(Shop, service)
    service.subscribe(TOPIC, "stock", app="stock")
    shop.order("42")
    reserved: Counter[str] = Counter()

    def reserve(message: PulledMessage) -> None:
        if message.attempt < 5:
            raise ConnectionError("the stock is being counted")
        reserved[message.key or ""] += 1

    # What `billing` never takes does not keep the rest from healing.
    service.assert_consistent(TOPIC, committed=shop.committed, effects=reserved, consumer=reserve, subscription="stock")


def test_it_is_asserted_after_the_faults(service: InMemoryService):
    with service.unreachable(), pytest.raises(RuntimeError, match="still last"):
        service.assert_consistent(committed=set())


async def test_it_is_awaited_with_async_consumers(service: InMemoryService):
    billed: Counter[str] = Counter()

    async def bill(message: PulledMessage) -> None:
        billed[message.key or ""] += 1

    client = service.async_client()
    await client.prepare(TOPIC, 1, key="42", confirmed=True)

    await service.assert_consistent_async(TOPIC, committed={"42"}, effects=billed, consumer=bill)
    with pytest.raises(AssertionError, match="LOST: '43'"):
        await service.assert_consistent_async(TOPIC, committed={"42", "43"})


def _shop(kind: type[Shop], service: InMemoryService) -> Shop:
    shop = kind(service)
    service.answer_checks_with(shop)
    return shop


def _require_consistent(shop: Shop) -> None:
    shop.service.assert_consistent(TOPIC, committed=shop.committed, effects=shop.billed, consumer=shop.bill)
