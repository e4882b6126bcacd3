"""A NATS broker: can it be spoken to, and does JetStream keep what it takes?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from aftercommit.brokers.nats_topology import STREAM, SUBJECTS
from aftercommit.doctor.finding import Finding, Report, Verdict, error, named, ok, unreached, warning

FAMILY: Final = "nats"
CONNECT_SECONDS: Final = 5.0


async def examine_nats(url: str) -> Report:
    """Connect once, ask, make nothing. `url` may be several addresses of a cluster, joined by commas."""
    complaints: list[Exception] = []
    try:
        async with asyncio.timeout(CONNECT_SECONDS), _connected(url, complaints) as client:
            return Report(findings=[named(FAMILY, "version", version(client)), *await _jetstream(client)])
    except (OSError, NatsError, TimeoutError, ValueError) as problem:
        # That no server is left says nothing; what each said came before.
        said = str(complaints[-1]) if complaints else str(problem)
        where = ", ".join(urlsplit(each).netloc.rpartition("@")[2] for each in url.split(","))
        return unreached(
            FAMILY,
            f"The broker at {where} cannot be reached: {said or type(problem).__name__}.",
            "Check the address, the user and whether the server runs.",
        )


def version(client: Client) -> Verdict:
    """Who answered."""
    found = client.connected_server_version
    return ok(f"NATS {found.major}.{found.minor}.{found.patch}.")


async def _jetstream(client: Client) -> list[Finding]:
    jetstream = client.jetstream(timeout=CONNECT_SECONDS)
    try:
        account = await jetstream.account_info()
    except NatsError as problem:
        found = f"JetStream does not answer ({str(problem) or type(problem).__name__})."
        return [named(FAMILY, "jetstream", error(found, "Start the server with -js, and allow it to this user."))]
    limits = account.limits
    room = "no limit of its own" if limits.max_storage < 0 else f"room for {limits.max_storage // 1024 // 1024} MiB"
    return [
        named(FAMILY, "jetstream", ok(f"JetStream is on, with {room}.")),
        named(FAMILY, "stream", await _stream(jetstream)),
    ]


async def _stream(jetstream: JetStreamContext) -> Verdict:
    """Whether our stream, where it is there, keeps what it takes."""
    try:
        info = await jetstream.stream_info(STREAM)
    except NotFoundError:
        return ok(f"The stream {STREAM} is not there yet: the first message makes it.")
    return stream_verdict(info.config, in_cluster=info.cluster is not None and info.cluster.name is not None)


def stream_verdict(config: api.StreamConfig, *, in_cluster: bool) -> Verdict:
    """The worst that can be said about how the stream is set up."""
    if SUBJECTS not in (config.subjects or ()):
        return error(f"The stream {STREAM} exists and does not take {SUBJECTS}.", "Add that subject to it.")
    full = config.discard == api.DiscardPolicy.OLD and ((config.max_msgs or 0) > 0 or (config.max_bytes or 0) > 0)
    if full or (config.max_age or 0) > 0:
        return warning(
            f"The stream {STREAM} drops messages that nobody has fetched: each must be sent again.",
            "Set its discard policy to new, and its maximum age to 0.",
        )
    if config.storage != api.StorageType.FILE:
        return warning(
            f"The stream {STREAM} is in memory: messages come late after a restart.", "Make it anew on disk."
        )
    if in_cluster and (config.num_replicas or 1) < 3:
        return warning(f"The stream {STREAM} is on {config.num_replicas} server of the cluster.", "Give it 3 replicas.")
    return ok(f"The stream {STREAM} is on disk, {config.num_replicas} times.")


@asynccontextmanager
async def _connected(url: str, complaints: list[Exception]) -> AsyncIterator[Client]:
    client = Client()

    async def complained(problem: Exception) -> None:
        complaints.append(problem)

    try:
        await client.connect(
            url.split(","),
            name="aftercommit doctor",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=round(CONNECT_SECONDS),
            error_cb=complained,
        )
        yield client
    finally:
        await client.close()
