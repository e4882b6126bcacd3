"""The API over a whole node on memory back ends, called without a network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from aftercommit.api.asgi import Api, create_app
from aftercommit.api.auth import Authenticate, without_keys
from aftercommit.ports.store import Shared
from aftercommit.stores.memory import MemoryStore
from tests.service.world import World, world

HOST = "http://127.0.0.1:8340"
UNKNOWN_ID = "01941f29-7c00-7000-8000-0000000fffff"


class Door:
    """Calls the API as an application. Paths are without `/v1`."""

    def __init__(self, world: World, api: Api) -> None:
        self.world = world
        self.api = api
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url=HOST)

    async def post(self, path: str, body: Any = None, *, app: str | None = "orders", **headers: str) -> httpx2.Response:
        """POST JSON; bytes go as they are, None sends no body."""
        return await self.send("POST", path, body, app=app, **headers)

    async def get(self, path: str, *, app: str | None = "orders") -> httpx2.Response:
        """GET."""
        return await self.send("GET", path, app=app)

    async def send(
        self, method: str, path: str, body: Any = None, *, app: str | None = "orders", **headers: str
    ) -> httpx2.Response:
        """Any call."""
        named = {"AfterCommit-App": app} if app is not None else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        if content is not None and "content-type" not in named:
            named["content-type"] = "application/json"
        return await self.client.request(method, f"/v1{path}", content=content, headers=named)


@asynccontextmanager
async def door(
    authenticate: Authenticate = without_keys, store: MemoryStore | None = None, shared: Shared | None = None
) -> AsyncIterator[Door]:
    """A running node and a client for it."""
    async with world(store=store, shared=shared) as made:
        api = api_of(made, authenticate)
        opened = Door(made, api)
        try:
            yield opened
        finally:
            await opened.client.aclose()


def api_of(made: World, authenticate: Authenticate = without_keys) -> Api:
    """The application over a world's services."""

    async def render_metrics() -> bytes:
        return b"aftercommit_up 1\n"

    return create_app(
        made.services,
        observer=made.observer,
        clock=made.clock,
        render_metrics=render_metrics,
        authenticate=authenticate,
        name="test <node>",
    )


def refused(response: httpx2.Response, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    """Assert that the response is that problem, whole and well-formed; the problem."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem.get("pointer") == pointer, problem
    return problem
