"""NATS JetStream: windows of publishes in flight, each answered by itself (protocol, section 6)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import BadHeaderError, BadSubjectError, MaxPayloadError
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from aftercommit.brokers import envelope
from aftercommit.brokers.nats_answers import Duplicate, Heard, Lost, NoStream, Window, read_answer
from aftercommit.brokers.nats_connection import Connection
from aftercommit.brokers.nats_letter import Letter, letter, slices
from aftercommit.brokers.nats_topology import STREAM, Misplaced, Topology, is_subject
from aftercommit.ports.broker import Accepted, Answer, BrokerCapabilities, Outgoing, Refused, Route, Unavailable
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer

PUBLISH_SECONDS: Final = 5.0
SLICE_BYTES: Final = 1024 * 1024
SLICES_MAX: Final = 8
# After so many messages in a row the rest of the process, the sending itself included, gets a turn.
BURST: Final = 64
UNANSWERED_MAX: Final = 100_000
DECLARE_AGAIN_SECONDS: Final = 1.0

_CAPABILITIES: Final = BrokerCapabilities(store_backed=False, window_max=500)


class NatsBroker:
    """Publishes to the stream AFTERCOMMIT, and sets it up with a durable consumer for each subscription.

    Every publish carries `Nats-Msg-Id`, so that an attempt whose answer was lost is stored once all the same. An
    attempt that the server calls a duplicate although it never went unanswered here is sent again under another id: the
    numbers of attempts begin anew when an operator redelivers what was given up.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        observer: Observer,
        chance: Callable[[], float],
        new_id: Callable[[], str],
        publish_seconds: float = PUBLISH_SECONDS,
    ) -> None:
        """`url`: `nats://host:port`, several joined by commas. `publish_seconds`: how long an answer may take."""
        self._observer = observer
        self._clock = clock
        self._new_id = new_id
        self._publish_seconds = publish_seconds
        self._topology = Topology(clock=clock)
        self._connection = Connection(
            url, clock=clock, observer=observer, chance=chance, heard=self._heard, up=self._up, down=self._down
        )
        self._slices = asyncio.Semaphore(SLICES_MAX)
        self._windows: dict[str, Window] = {}
        self._windows_ever = 0
        # Attempts that were sent and never answered, oldest first; the server may or may not have them.
        self._unanswered: dict[str, None] = {}
        # The deadlines of whoever sets something up now.
        self._patience: set[asyncio.Timeout] = set()
        self._undeclared: dict[str, None] = {}
        self._to_declare = asyncio.Event()
        self._closing = asyncio.Event()
        self._declaring: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> BrokerCapabilities:
        """Queues of its own, windows of 500."""
        return _CAPABILITIES

    @property
    def trouble(self) -> str | None:
        """Why there is no connection."""
        return self._connection.trouble

    async def open(self) -> None:
        """Begin to connect."""
        self._connection.open()
        self._declaring = asyncio.get_running_loop().create_task(self._declare(), name="nats topology")

    def declare(self, route: Route) -> None:
        """Make the topic's consumers as soon as there is a connection."""
        self._topology.learn(route)
        self._undeclared[route.topic] = None
        self._to_declare.set()

    async def publish(self, batch: Sequence[Outgoing]) -> list[Answer]:
        """Publish up to a window; every answer within `publish_seconds`, and as long again where consumers are made."""
        client = self._connection.client
        if client is None or self.trouble is not None:
            return [Unavailable(self.trouble or "The broker is not connected.")] * len(batch)
        answers: list[Answer | None] = [None] * len(batch)
        in_the_way = await self._prepare(client, batch)
        letters: list[Letter] = []
        for place, outgoing in enumerate(batch):
            if (reason := in_the_way.get(outgoing.topic)) is not None:
                answers[place] = reason
                continue
            try:
                letters.append(letter(outgoing, place, client.max_payload))
            except envelope.CannotCarry as error:
                answers[place] = Refused(str(error), final=True)
        until = self._clock.monotonic() + self._publish_seconds
        for place, answer in await self._send_all(client, letters, until):
            answers[place] = answer
        return [each if each is not None else Unavailable("It was not sent.") for each in answers]

    async def close(self) -> None:
        """Let go of the connection; what is in flight is answered `Unavailable`."""
        self._closing.set()
        self._to_declare.set()
        await self._connection.close()
        declaring, self._declaring = self._declaring, None
        if declaring is not None:
            await declaring

    async def _prepare(self, client: Client, batch: Sequence[Outgoing]) -> dict[str, Answer]:
        """Have the stream and consumers there; what stands in the way, by topic."""
        aimed_at: dict[str, set[str]] = {}
        for each in batch:
            aimed_at.setdefault(each.topic, set()).update(each.subscriptions or ())
        in_the_way: dict[str, Answer] = {}
        for topic, aimed in aimed_at.items():
            if not is_subject(topic):
                in_the_way[topic] = Refused(f"NATS has no subject for a topic named {topic!r}.", final=True)
            elif (trouble := await self._ensure(client, topic, frozenset(aimed))) is not None:
                in_the_way[topic] = Unavailable(trouble)
        return in_the_way

    async def _ensure(self, client: Client, topic: str, aimed: frozenset[str] = frozenset()) -> str | None:
        if self._topology.is_ready(topic, aimed):
            return None
        jetstream = client.jetstream(timeout=self._publish_seconds)
        patience = asyncio.timeout(self._publish_seconds)
        self._patience.add(patience)
        try:
            async with patience:
                await self._topology.ensure(jetstream, topic, aimed)
        except APIError as error:
            return f"JetStream refuses to set up topic {topic!r}: {error.description or error}."
        except TimeoutError:
            if self.trouble is not None:
                return self.trouble
            self._connection.doubt()
            return f"JetStream did not set up topic {topic!r} within {self._publish_seconds:g} s."
        except (Misplaced, OSError, NatsError) as error:
            return str(error)
        except (TypeError, KeyError, ValueError) as error:
            # The client stumbles over an answer it did not expect: the server's doing, and nothing of the message.
            return f"JetStream's answer about topic {topic!r} cannot be read ({type(error).__name__}: {error})."
        finally:
            self._patience.discard(patience)
        return None

    async def _declare(self) -> None:
        """Set up what was declared, topic by topic, as long as the broker is open."""
        while not self._closing.is_set():
            client = self._connection.client
            topic = next(iter(self._undeclared), None)
            if client is None or topic is None:
                self._to_declare.clear()
                await self._to_declare.wait()
                continue
            del self._undeclared[topic]
            trouble = await self._ensure(client, topic) if is_subject(topic) else None
            if trouble is not None:
                self._undeclared[topic] = None
                self._observer.alert("broker_topology", trouble)
                await self._clock.wait(self._closing, DECLARE_AGAIN_SECONDS)

    async def _send_all(self, client: Client, letters: Sequence[Letter], until: float) -> list[tuple[int, Answer]]:
        done: list[tuple[int, Answer]] = []
        again: list[Letter] = []
        for each, answer in await self._send(client, letters, until):
            if not isinstance(answer, Duplicate):
                done.append((each.place, answer))
            elif self._was_unanswered(each):
                done.append((each.place, Accepted()))
            else:
                again.append(each.under(f"{each.msg_id}:{self._new_id()}"))
        for each, answer in await self._send(client, again, until):
            done.append((each.place, Accepted() if isinstance(answer, Duplicate) else answer))
        return done

    def _was_unanswered(self, sent: Letter) -> bool:
        if sent.msg_id not in self._unanswered:
            return False
        del self._unanswered[sent.msg_id]
        return True

    async def _send(
        self, client: Client, letters: Sequence[Letter], until: float
    ) -> list[tuple[Letter, Answer | Duplicate]]:
        """Send slice after slice, so that what is in flight stays bounded in bytes too."""
        done: list[tuple[Letter, Answer | Duplicate]] = []
        for part in slices(letters, SLICE_BYTES):
            if not await self._may_send(until):
                done += [(each, Unavailable("Too much is on its way to the broker already.")) for each in part]
                continue
            try:
                done += await self._send_slice(client, part, until)
            finally:
                self._slices.release()
        return done

    async def _may_send(self, until: float) -> bool:
        """Whether it became this slice's turn in time; then the turn must be given back."""
        left = until - self._clock.monotonic()
        if left <= 0:
            return False
        if not self._slices.locked():
            return await self._slices.acquire()
        try:
            async with asyncio.timeout(left):
                return await self._slices.acquire()
        except TimeoutError:
            return False

    async def _send_slice(
        self, client: Client, letters: Sequence[Letter], until: float
    ) -> list[tuple[Letter, Answer | Duplicate]]:
        self._windows_ever += 1
        number = str(self._windows_ever)
        window = self._windows[number] = Window(len(letters))
        replies = f"{self._connection.replies}.{number}."
        try:
            for index, each in enumerate(letters):
                if index % BURST == BURST - 1:
                    await asyncio.sleep(0)
                try:
                    await client.publish(each.subject, each.payload, f"{replies}{index}", each.headers)
                except (MaxPayloadError, BadHeaderError, BadSubjectError) as error:
                    window.answer(index, Refused(f"NATS cannot carry it: {error}", final=True))
                except (OSError, NatsError) as error:
                    window.answer(index, Unavailable(f"The broker cannot be reached: {error}."))
            await self._clock.wait(window.done, until - self._clock.monotonic())
        finally:
            del self._windows[number]
        return [(each, self._settled(each, answer)) for each, answer in zip(letters, window.answers, strict=True)]

    def _settled(self, sent: Letter, answer: Heard | None) -> Answer | Duplicate:
        match answer:
            case None:
                self._remember(sent)
                self._connection.doubt()
                complaint = self._connection.last_error
                said = "" if complaint is None else f" It said last: {complaint}."
                return Unavailable(f"The broker did not answer within {self._publish_seconds:g} s.{said}")
            case Lost(reason):
                self._remember(sent)
                return Unavailable(reason)
            case NoStream():
                # Whatever was seen before: it is not there any more, and is made again before the next try.
                self._topology.forget()
                return Unavailable(f"The stream {STREAM} is not there.")
            case Accepted():
                self._unanswered.pop(sent.msg_id, None)
                return answer
            case _:
                return answer

    def _remember(self, sent: Letter) -> None:
        self._unanswered[sent.msg_id] = None
        if len(self._unanswered) > UNANSWERED_MAX:
            # The oldest is out of the server's memory of duplicates long since; at worst it is delivered once more.
            del self._unanswered[next(iter(self._unanswered))]

    def _heard(self, message: Msg) -> None:
        _prefix, number, index = message.subject.rsplit(".", 2)
        window = self._windows.get(number)
        # None: it comes too late, the window was given up.
        if window is not None:
            window.answer(int(index), read_answer(message))

    def _up(self) -> None:
        self._topology.forget()
        self._undeclared.update(dict.fromkeys(self._topology.topics))
        self._to_declare.set()

    def _down(self, why: str) -> None:
        for window in self._windows.values():
            window.give_up(Lost(why))
        for patience in self._patience:
            # The client would wait on for an answer that cannot come any more.
            if not patience.expired():
                patience.reschedule(0)
