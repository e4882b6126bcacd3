"""What is asked of the node: the life of messages, call by call and in batches."""

import asyncio
from collections import deque
from time import perf_counter

import msgspec
import uuid_utils

from benchmarks.http import Connection, Run, Step, decoded, load

TOPIC = "bench"
SUBSCRIPTION = "consumer"
PAYLOAD = b'{"order":12345,"note":"' + b"x" * 480 + b'"}'
BATCH = 100
PACED_INITIATORS = 32
PACED_CONSUMERS = 8
PATIENCE_SECONDS = 60.0


def prepare_body(message_id: str) -> bytes:
    """A prepare with a 512-byte payload."""
    return b'{"id":"%b","topic":"%b","payload":%b}' % (message_id.encode(), TOPIC.encode(), PAYLOAD)


async def prepares(port: int, connections: int, seconds: float) -> Run:
    """Durable prepares, one call each, closed loop."""

    async def step(connection: Connection) -> int:
        await connection.call("/v1/messages", prepare_body(str(uuid_utils.uuid7())))
        return 1

    return await load("127.0.0.1", port, list[Step]([step] * connections), seconds)


async def idle_prepares(port: int, count: int, per_second: float) -> Run:
    """Prepares to an idle node at a fixed rate; latency counts from the intended moment."""
    connection = await Connection.open("127.0.0.1", port)
    run = Run()
    started = perf_counter()
    for number in range(count):
        intended = started + number / per_second
        # Timers are late by up to a millisecond: the last stretch is waited for by looking.
        await asyncio.sleep(max(0.0, intended - perf_counter() - 0.002))
        while perf_counter() < intended:
            pass
        await connection.call("/v1/messages", prepare_body(str(uuid_utils.uuid7())))
        run.latencies.append(perf_counter() - intended)
        run.done += 1
    run.seconds = perf_counter() - started
    connection.close()
    return run


async def cycles_single(port: int, initiators: int, consumers: int, seconds: float) -> Run:
    """Whole lives: prepare, confirm, pull, complete. Every verb its own call, but pull, which brings up to 50."""
    completed = [0]
    open_lives = [0]

    async def initiate(connection: Connection) -> int:
        if open_lives[0] > 2000:
            return await _rest()
        message_id = str(uuid_utils.uuid7())
        await connection.call("/v1/messages", prepare_body(message_id))
        await connection.call(f"/v1/messages/{message_id}/confirm", b"{}")
        open_lives[0] += 1
        return 1

    waiting: deque[str] = deque()

    async def consume(connection: Connection) -> int:
        if not waiting:
            waiting.extend(await _pull(connection, 50))
        while waiting:
            await connection.call(f"/v1/messages/{waiting.popleft()}/complete", b"{}")
            completed[0] += 1
            open_lives[0] -= 1
        return 0

    steps: list[Step] = [*[initiate] * initiators, *[consume] * consumers]
    return await load("127.0.0.1", port, steps, seconds, count=lambda: completed[0])


async def cycles_batched(port: int, initiators: int, consumers: int, seconds: float) -> Run:
    """Whole lives through the batch verbs, 100 at a time."""
    completed = [0]
    open_lives = [0]

    async def initiate(connection: Connection) -> int:
        if open_lives[0] > 4000:
            return await _rest()
        ids = [str(uuid_utils.uuid7()) for _ in range(BATCH)]
        items = b",".join(prepare_body(each) for each in ids)
        await connection.call("/v1/batch/prepare", b'{"items":[%b]}' % items)
        await connection.call("/v1/batch/confirm", _items(ids))
        open_lives[0] += BATCH
        return BATCH

    async def consume(connection: Connection) -> int:
        ids = await _pull(connection, BATCH)
        if ids:
            await connection.call("/v1/batch/complete", _items(ids))
            completed[0] += len(ids)
            open_lives[0] -= len(ids)
        return 0

    steps: list[Step] = [*[initiate] * initiators, *[consume] * consumers]
    return await load("127.0.0.1", port, steps, seconds, count=lambda: completed[0])


async def paced_cycles(port: int, per_second: float, seconds: float) -> tuple[Run, Run]:
    """Lives that begin at a fixed rate, every verb its own call: the pairs of prepare and confirm, and the whole lives.

    Latencies count from the moment that was intended. Raises TimeoutError if the last take too long to complete.
    """
    pairs, lives = Run(), Run()
    began: dict[str, float] = {}
    count = int(per_second * seconds)
    numbers = iter(range(count))
    started = perf_counter()

    async def initiate() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for number in numbers:
            intended = started + number / per_second
            await asyncio.sleep(max(0.0, intended - perf_counter()))
            message_id = str(uuid_utils.uuid7())
            began[message_id] = intended
            await connection.call("/v1/messages", prepare_body(message_id))
            await connection.call(f"/v1/messages/{message_id}/confirm", b"{}")
            pairs.latencies.append(perf_counter() - intended)
            pairs.done += 1
        connection.close()

    async def consume() -> None:
        connection = await Connection.open("127.0.0.1", port)
        while lives.done < count:
            for each in await _pull(connection, 50):
                await connection.call(f"/v1/messages/{each}/complete", b"{}")
                lives.latencies.append(perf_counter() - began[each])
                lives.done += 1
        connection.close()

    async with asyncio.timeout(seconds + PATIENCE_SECONDS):
        await asyncio.gather(
            *(initiate() for _ in range(PACED_INITIATORS)), *(consume() for _ in range(PACED_CONSUMERS))
        )
    pairs.seconds = lives.seconds = perf_counter() - started
    return pairs, lives


async def register(port: int) -> None:
    """The topic and its one subscription."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"subscriptions":[{"name":"%b"}]}' % SUBSCRIPTION.encode()
    writer.write(
        b"PUT /v1/topics/%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (TOPIC.encode(), len(body), body)
    )
    await reader.read()
    writer.close()


async def _rest() -> int:
    """The consumers are behind: let them catch up, so that the backlog stays small."""
    await asyncio.sleep(0.005)
    return 0


async def _pull(connection: Connection, limit: int) -> list[str]:
    answer = await connection.call(
        f"/v1/topics/{TOPIC}/subscriptions/{SUBSCRIPTION}/pull", b'{"max":%d,"wait_seconds":0.5}' % limit
    )
    return [each["id"] for each in decoded(answer)["messages"]]


def _items(ids: list[str]) -> bytes:
    return msgspec.json.encode({"items": [{"id": each} for each in ids]})
