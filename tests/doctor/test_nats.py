"""What the doctor finds at NATS."""

from collections.abc import Iterator

import nats
import pytest
from nats.js import api

from aftercommit.brokers.nats_topology import STREAM, SUBJECTS
from aftercommit.doctor.finding import Level
from aftercommit.doctor.nats import examine_nats, stream_verdict
from tests.doctor.reading import found, levels
from tests.servers import require_server
from tests.servers.nats import Nats


class WithoutJetStream(Nats):
    """A server that keeps nothing."""

    def command(self) -> list[str]:
        """Without the two options that make it keep something."""
        return [*super().command()[:5]]


@pytest.fixture
def fresh() -> Iterator[Nats]:
    yield from started(Nats.found())


@pytest.fixture
def plain() -> Iterator[Nats]:
    yield from started(WithoutJetStream.found())


def started(server: Nats | None) -> Iterator[Nats]:
    require_server(Nats.name, found=server is not None)
    assert server is not None
    with server:
        yield server


async def make_stream(server: Nats, **settings) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(api.StreamConfig(name=STREAM, **settings))
    await client.close()


async def streams(server: Nats) -> int:
    client = await nats.connect(server.url)
    number = (await client.jetstream().account_info()).streams
    await client.close()
    return number


async def test_a_fresh_server_is_healthy_and_stays_as_it_is(fresh):
    report = await examine_nats(fresh.url)

    assert levels(report) == {}
    assert "2." in found(report, "version").found
    assert await streams(fresh) == 0


async def test_a_server_without_jetstream_is_an_error(plain):
    report = await examine_nats(plain.url)

    assert levels(report) == {"nats.jetstream": Level.ERROR}


@pytest.mark.parametrize("url", ["nats://u:swordfish@127.0.0.1:1", "nats://u:swordfish@127.0.0.1:1,nats://127.0.0.1:2"])
async def test_what_cannot_be_reached_is_told_and_its_password_is_not_shown(url):
    report = await examine_nats(url)

    assert not report.reached
    assert "127.0.0.1:1" in found(report, "connection").found
    assert "swordfish" not in str(report)


async def test_a_stream_in_memory_is_told(fresh):
    await make_stream(fresh, subjects=[SUBJECTS], storage=api.StorageType.MEMORY)

    assert found(await examine_nats(fresh.url), "stream").level is Level.WARNING


async def test_a_stream_of_somebody_elses_is_an_error(fresh):
    await make_stream(fresh, subjects=["orders.>"])

    assert found(await examine_nats(fresh.url), "stream").level is Level.ERROR


async def test_a_stream_that_drops_what_is_old_is_told(fresh):
    await make_stream(fresh, subjects=[SUBJECTS], max_msgs=10, discard=api.DiscardPolicy.OLD)

    assert "drops" in found(await examine_nats(fresh.url), "stream").found


async def test_a_stream_as_a_node_makes_it_is_healthy(fresh):
    await make_stream(fresh, subjects=[SUBJECTS], discard=api.DiscardPolicy.NEW)

    assert found(await examine_nats(fresh.url), "stream").level is Level.OK


@pytest.mark.parametrize(("replicas", "level"), [(1, Level.WARNING), (3, Level.OK)])
def test_a_cluster_should_keep_a_stream_three_times(replicas, level):
    config = api.StreamConfig(name=STREAM, subjects=[SUBJECTS], storage=api.StorageType.FILE, num_replicas=replicas)

    assert stream_verdict(config, in_cluster=True).level is level


def test_messages_that_age_away_are_told():
    config = api.StreamConfig(name=STREAM, subjects=[SUBJECTS], storage=api.StorageType.FILE, max_age=60)

    assert stream_verdict(config, in_cluster=False).level is Level.WARNING
