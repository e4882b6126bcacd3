"""The assertions find what was published, and say what is there instead."""

import re

import pytest

from aftercommit.testing import InMemoryService

TOPIC = "orders.created"


def test_published_is_what_was_confirmed(service: InMemoryService):
    client = service.client()
    message = client.prepare(TOPIC, {"order": 42}, key="42")

    service.refute_published(TOPIC)
    client.confirm(message.id)

    [found] = service.assert_published(TOPIC, payload={"order": 42}, key="42", count=1)
    assert found.id == message.id


def test_it_stays_published_whatever_becomes_of_its_deliveries(service: InMemoryService):
    client = service.client()
    failed, discarded, completed = (client.prepare(TOPIC, number, confirmed=True).id for number in range(3))
    billing = service.client(app="billing")
    billing.pull(TOPIC, "billing", max=3)
    billing.fail(failed, "no")
    client.discard(discarded, "no")
    billing.complete(completed)

    service.assert_published(TOPIC, count=3)


def test_each_part_is_compared(service: InMemoryService):
    service.client().prepare(TOPIC, {"order": 42}, key="42", headers={"shop": "north", "till": "3"}, confirmed=True)

    service.assert_published(TOPIC, headers={"shop": "north"}, payload=lambda order: order["order"] > 40)
    service.refute_published("orders.cancelled")
    service.refute_published(TOPIC, payload={"order": 43})
    service.refute_published(TOPIC, key=None)
    service.refute_published(TOPIC, headers={"shop": "south"})
    service.refute_published(TOPIC, headers={"absent": "north"})
    service.refute_published(TOPIC, payload=lambda order: order["order"] > 42)


def test_bytes_are_compared_as_bytes(service: InMemoryService):
    service.client().prepare(TOPIC, b"\x00\xff", confirmed=True)
    service.client().prepare(TOPIC, b'{"order": 42}', key="json in bytes", confirmed=True)

    service.assert_published(TOPIC, payload=b"\x00\xff", count=1)
    service.assert_published(TOPIC, payload={"order": 42}, key="json in bytes", count=1)
    service.refute_published(TOPIC, payload=b"\x00")


def test_an_absent_key_can_be_asked_for(service: InMemoryService):
    service.client().prepare(TOPIC, None, confirmed=True)
    service.assert_published(TOPIC, key=None, payload=None, count=1)


def test_a_failure_shows_what_is_there_instead(service: InMemoryService):
    client = service.client()
    client.prepare(TOPIC, {"order": 41}, key="41", confirmed=True)
    client.prepare(TOPIC, {"order": 42}, key="42")
    client.cancel(client.prepare(TOPIC, {"order": 42}, key="42").id)

    with pytest.raises(AssertionError) as failure:
        service.assert_published(TOPIC, key="42")

    text = str(failure.value)
    assert text.startswith("No message was published to 'orders.created' with key '42'.")
    assert "1 matching is only prepared: no confirm came" in text
    assert "1 matching is rolled back" in text
    assert re.search(r"""orders\.created sent key='41' \{"order":41\}""", text)


def test_a_wrong_count_is_told(service: InMemoryService):
    service.client().prepare(TOPIC, 1, confirmed=True)
    with pytest.raises(AssertionError, match="1 messages instead of 2 were published"):
        service.assert_published(TOPIC, count=2)
    with pytest.raises(AssertionError, match="1 messages instead of 0 were published"):
        service.assert_published(TOPIC, count=0)


def test_an_empty_service_says_so(service: InMemoryService):
    with pytest.raises(AssertionError, match="There is no message at all"):
        service.assert_published(TOPIC)


def test_what_should_not_be_there_is_shown(service: InMemoryService):
    service.client().prepare(TOPIC, {"order": 42}, confirmed=True)
    with pytest.raises(AssertionError, match=r'1 message was published(.|\n)*\{"order":42\}'):
        service.refute_published(TOPIC)


def test_long_lists_and_payloads_are_cut(service: InMemoryService):
    client = service.client()
    for number in range(30):
        client.prepare(TOPIC, "x" * 1000, key=str(number), confirmed=True)

    with pytest.raises(AssertionError) as failure:
        service.assert_published("other")

    assert "and 10 before these" in str(failure.value)
    assert len(str(failure.value)) < 6000
    assert "key='29'" in str(failure.value)


def test_settled_is_neither_live_nor_parked(service: InMemoryService):
    client = service.client()
    service.assert_settled()
    message = client.prepare(TOPIC, 1)
    with pytest.raises(AssertionError, match="pending_confirmation"):
        service.assert_settled()
    client.cancel(message.id)
    service.assert_settled()


def test_messages_are_listed_in_their_order_over_many_pages(service: InMemoryService):
    client = service.client()
    ids = [client.prepare(TOPIC, number).id for number in range(250)]
    client.cancel(ids[0])

    assert [each.id for each in service.messages()] == ids
    assert [each.id for each in service.messages(status="rolled_back")] == ids[:1]
    assert service.messages("other") == []
    assert service.statuses() == {"pending_confirmation": 249, "rolled_back": 1}
