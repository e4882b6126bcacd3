"""A whole node on memory back ends, on a loop of its own, with a clock that only moves when told."""

import asyncio
import random
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from aftercommit.api.asgi import create_app
from aftercommit.api.node import metrics
from aftercommit.api.routes import ROUTES
from aftercommit.brokers.memory import MemoryBroker
from aftercommit.clocks import new_id, wall_ms
from aftercommit.domain.lifecycle import LIVE
from aftercommit.domain.message import DueKind, Message
from aftercommit.ports.store import Search
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer, Request
from aftercommit.sdk.messages import StoredMessage
from aftercommit.service.caller import Caller
from aftercommit.service.node import Backends, Chance, Node, Timing
from aftercommit.signatures import new_secret
from aftercommit.stores.memory import MemoryStore
from aftercommit.testing.callers import Errands
from aftercommit.testing.checkback import InProcessCheckback
from aftercommit.testing.clock import ManualClock
from aftercommit.testing.loop_thread import LoopThread
from aftercommit.testing.observer import RecordingObserver
from aftercommit.testing.pace import Pace

# What the loops of a node wait for; a delivery that may be pulled waits for a consumer, not for a loop.
_LOOPS: Final = (DueKind.CHECK, DueKind.SEND, DueKind.EXPIRE)
_OPERATOR: Final = Caller("default", wide=True)
_EVERYTHING: Final = 1_000_000
# Overdue work that nobody can do (a paused topic, an application nobody can ask) is looked at ever more seldom.
_LONGEST_STEP_SECONDS: Final = 300.0
# Real time that a pull which would wait holds its caller: long enough that a consumer in a thread does not spin.
_LINGER_SECONDS: Final = 0.02


class MemoryNode:
    """Everything here but `clock`, `observer` and reading attributes runs on the loop of `thread`."""

    def __init__(self, thread: LoopThread, errands: Errands, checkback: InProcessCheckback) -> None:
        self._thread = thread
        self._errands = errands
        self.clock = ManualClock(wall_ms())
        self.observer = RecordingObserver()
        self._store = MemoryStore(chance=lambda: 0.0)
        self._moving = asyncio.Lock()
        self._stirred = asyncio.Event()
        secrets = random.Random(0)
        broker = MemoryBroker()
        self._node = Node(
            Backends(
                store=self._store,
                broker=broker,
                pulls=broker,
                checkback=checkback,
                clock=self.clock,
                observer=self.observer,
            ),
            Chance(draw=lambda: 0.0, new_id=new_id, new_secret=lambda: new_secret(secrets.randbytes(32))),
            Timing(database_ms=self._database_ms, refresh=lambda _: 0, jumped=lambda: False),
            keyless=True,
            require_address=lambda _: None,
            rates=dict,
        )
        self._app = create_app(
            self._node.services,
            observer=self.observer,
            clock=self.clock,
            render_metrics=_no_metrics,
            name="in-memory",
            # Numbers for Prometheus are of a running node; this one is asked by `observer`.
            routes=[each for each in ROUTES if each.handler is not metrics],
        )

    async def start(self) -> None:
        """Open the store and start the loops."""
        await self._store.open(self.clock.now())
        await self._node.start()
        await self._thread.quiet()

    async def stop(self) -> None:
        """Stop everything. Who waits for a check is told that there is no answer."""
        self._errands.close()
        await self._node.stop()
        await self._node.close()

    async def answer(self, request: Request) -> Response:
        """What the API answers. Returns when everything the request set in motion is done, but for checks.

        A call that may wait (a pull) waits no fake time, because nobody moves it meanwhile: it comes back with nothing
        when nothing is there, after a moment in which another thread may still bring something.
        """
        now, may_wait = _without_wait(request)
        response = await self._respond(now)
        if may_wait and response.status == 200 and not any(msgspec.json.decode(response.body).values()):
            await self._await_stir()
            return await self._respond(now)
        if not may_wait:
            self._stir()
        return response

    async def advance(self, seconds: float) -> None:
        """Move time on; everything that gets due is done at its time, with the user's answers to checks."""
        async with self._moving:
            end = self.clock.monotonic() + seconds
            await self._rest()
            pace = Pace(_LONGEST_STEP_SECONDS)
            while (left := end - self.clock.monotonic()) > 0:
                dues = await self._loop_dues()
                # Due, and not done: a loop looks again at its own time.
                again = self.clock.next_alarm_seconds or 0.0
                step = pace.step_seconds(self.clock.now(), dues, again_seconds=max(again, 0.001))
                self.clock.advance(left if step is None else min(left, step))
                await self._rest()
        self._stir()

    async def live(self) -> list[Message]:
        """Every message that is not settled and not parked."""
        page = await self._store.search(Search(limit=_EVERYTHING))
        return [each.message for each in page.messages if each.message.status in LIVE]

    async def everything(self) -> list[StoredMessage]:
        """Every message as the operator reads it, in the order of their preparing; no tombstones of unknown ids."""
        page = await self._store.search(Search(limit=_EVERYTHING))
        ids = [each.message.id for each in reversed(page.messages) if each.message.topic is not None]
        answers = [await self._node.services.inspection.get(_OPERATOR, each) for each in ids]
        return [msgspec.json.decode(msgspec.json.encode(each), type=StoredMessage) for each in answers]

    async def healing_dues(self, consumed: Collection[tuple[str, str]]) -> dict[object, int]:
        """When time does something for a live message, or a consumer of these topics and subscriptions could."""
        catalog = self._store.catalog
        subscriptions = {
            each.id
            for each in catalog.subscriptions.values()
            if (catalog.topics[each.topic].name, each.name) in consumed
        }
        dues: dict[object, int] = {}
        for message in await self.live():
            if message.due is not None:
                dues[message.id] = message.due.at
            for each in message.deliveries:
                if each.due is not None and each.subscription in subscriptions:
                    dues[message.id, each.subscription] = each.due.at
        return dues

    def app_of(self, message: Message) -> str:
        """The name of the application that prepared it."""
        return self._store.catalog.apps[message.app].name

    def owners(self, topic: str | None, subscription: str | None) -> list[tuple[str, str, str]]:
        """The subscriptions meant (None: all), each as topic, name and owner, the implicit `default` among them.

        Nothing of a topic that is not there (yet). Raises ValueError for a subscription that a topic does not have.
        """
        catalog = self._store.catalog
        topics = {each.id: each for each in catalog.topics.values() if each.removed_at is None}
        of_topic = [
            each
            for each in catalog.subscriptions.values()
            if each.removed_at is None and each.topic in topics and topic in (None, topics[each.topic].name)
        ]
        found = [each for each in of_topic if subscription in (None, each.name)]
        if of_topic and not found:
            raise ValueError(
                f"There is no subscription {subscription!r} of {topic or 'any topic'}: subscribe(topic, name) before"
                " its messages are confirmed."
            )
        return [(topics[each.topic].name, each.name, catalog.apps[each.app].name) for each in found]

    async def _database_ms(self) -> int:
        return self.clock.now()

    async def _rest(self) -> None:
        await self._thread.quiet()
        while await self._errands.answered():
            await self._thread.quiet()

    async def _loop_dues(self) -> dict[object, int]:
        return {(kind, each.lane): each.at for kind in _LOOPS for each in await self._store.due_lanes(kind)}

    async def _respond(self, request: Request) -> Response:
        body: list[bytes] = [request.body]

        async def receive() -> dict[str, Any]:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            # Nobody hangs up here.
            await asyncio.get_running_loop().create_future()
            raise AssertionError("Nobody sets this future.")

        answer = await self._app.respond(_scope(request), receive)
        await self._thread.quiet()
        if answer is None:
            raise NoAnswer("the connection was closed", perhaps_received=True)
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
        return Response(status=answer.status, headers=headers, body=answer.body)

    def _stir(self) -> None:
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()

    async def _await_stir(self) -> None:
        stirred = self._stirred
        await asyncio.wait([waiting := asyncio.ensure_future(stirred.wait())], timeout=_LINGER_SECONDS)
        waiting.cancel()


def _scope(request: Request) -> dict[str, Any]:
    parts = urlsplit(request.url)
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    headers.append((b"host", parts.netloc.encode()))
    if request.body:
        headers.append((b"content-length", b"%d" % len(request.body)))
    return {
        "type": "http",
        "method": request.method,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": headers,
    }


def _without_wait(request: Request) -> tuple[Request, bool]:
    """The request without its patience, and whether it had some. What the service would refuse stays as it is."""
    if not urlsplit(request.url).path.endswith("/pull"):
        return request, False
    try:
        body = msgspec.json.decode(request.body or b"{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return request, False
    seconds = body.get("wait_seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds <= 30:
        return request, False
    patient = msgspec.json.encode({**body, "wait_seconds": 0})
    return Request(request.method, request.url, request.headers, patient, request.timeout_seconds), True


async def _no_metrics() -> bytes:
    raise AssertionError("The route that would ask for this is left out.")
