"""A message that somebody else has locked: `busy`, to be tried again, and nobody else's trouble."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx2
import pytest

from tests.api.door import Door, door, refused
from tests.api.test_messages import MESSAGE, prepared
from tests.service.shared import SharedStore


class Locked:
    """A node whose database locks what a test tells it to."""

    def __init__(self, api: Door, store: SharedStore) -> None:
        self.api = api
        self.store = store

    async def answer(self, call: Awaitable[httpx2.Response]) -> httpx2.Response:
        """What a call answers when its two seconds are up."""
        under_way = asyncio.ensure_future(call)
        await self.api.world.clock.run(2.0)
        return await under_way


@pytest.fixture
async def locked() -> AsyncIterator[Locked]:
    """Such a node, with a registered topic."""
    store = SharedStore()
    async with door(store=store) as api:
        await api.world.register()
        yield Locked(api, store)


CALLS: dict[str, dict[str, Any]] = {
    "confirm": {},
    "cancel": {},
    "complete": {},
    "fail": {"reason": "no"},
    "recheck": {},
    "redeliver": {},
    "discard": {"reason": "no"},
}


@pytest.mark.parametrize(("verb", "body"), CALLS.items(), ids=list(CALLS))
async def test_a_call_on_a_locked_message_is_refused_as_busy_and_says_when_to_try_again(
    verb: str, body: dict[str, Any], locked: Locked
) -> None:
    message_id = await prepared(locked.api)
    locked.store.locked.add(message_id)
    response = await locked.answer(locked.api.post(f"/messages/{message_id}/{verb}", body))
    problem = refused(response, 503, "busy")
    assert problem["message_status"] == "pending_confirmation"
    assert response.headers["retry-after"] == "1"


async def test_a_prepare_whose_id_is_being_written_by_somebody_else_is_busy_too(locked: Locked) -> None:
    message_id = locked.api.world.new_id()
    locked.store.locked.add(message_id)
    response = await locked.answer(locked.api.post("/messages", {**MESSAGE, "id": message_id}))
    refused(response, 503, "busy")


async def test_in_a_batch_it_is_an_item_of_its_own_that_spoils_no_other(locked: Locked) -> None:
    first, second = await prepared(locked.api), await prepared(locked.api)
    locked.store.locked.add(first)
    response = await locked.answer(locked.api.post("/batch/confirm", {"items": [{"id": first}, {"id": second}]}))
    assert response.status_code == 200
    busy, done = response.json()["results"]
    assert (busy["id"], busy["error"]["code"], busy["error"]["status"]) == (first, "busy", "pending_confirmation")
    assert (done["id"], "error" in done) == (second, False)


async def test_a_busy_confirm_is_no_contradiction(locked: Locked) -> None:
    message_id = await prepared(locked.api)
    locked.store.locked.add(message_id)
    await locked.answer(locked.api.post(f"/messages/{message_id}/confirm"))
    observer = locked.api.world.observer
    assert observer.counted("refusals", code="busy") == 1
    assert observer.counted("contradictions") == 0


async def test_every_call_that_changes_a_message_documents_it(api: Door) -> None:
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    posts = {path: each["post"] for path, each in paths.items() if path.startswith("/v1/messages") and "post" in each}
    assert len(posts) == len(CALLS) + 2
    for path, operation in posts.items():
        assert "`busy`" in operation["responses"]["503"]["description"], path
