"""Nodes of one database: who they are, and that it stops nothing where they cannot say so."""

import msgspec

from aftercommit import __version__
from aftercommit.domain.errors import StoreUnavailable
from aftercommit.ports.store import NodeRecord
from aftercommit.settings import ROLES
from tests.api.door import door
from tests.service.shared import Nodes, SharedStore
from tests.service.world import world

GONE = StoreUnavailable("The database is gone.")


async def test_a_node_says_every_two_seconds_that_it_lives_and_where() -> None:
    nodes = Nodes()
    async with world(store=SharedStore(), shared=nodes) as w:
        await w.clock.run(9.0)
        assert 4 <= len(nodes.beats) <= 5
        [record] = nodes.records.values()
        assert (record.address, record.seen_at - record.started_at) == ("http://127.0.0.1:8340", 8000)
        assert (record.roles, record.version) == (ROLES, __version__)


async def test_a_node_that_stops_is_taken_off_the_list() -> None:
    nodes = Nodes()
    async with world(store=SharedStore(), shared=nodes) as w:
        await w.clock.run(3.0)
        assert len(nodes.records) == 1
    assert nodes.records == {}


async def test_a_beat_that_fails_is_told_once_and_the_node_stays_ready() -> None:
    nodes = Nodes()
    async with world(store=SharedStore(), shared=nodes) as w:
        await w.clock.run(3.0)
        nodes.away = GONE
        await w.clock.run(300.0)
        assert w.observer.alerted().count("heartbeat_failed") == 1
        ready, report = await w.services.readiness.report(nodes=True)
        assert (ready, report["heartbeat"], report["nodes"]) == (True, GONE.detail, GONE.detail)
        nodes.away = None
        await w.clock.run(2.0)
        _, report = await w.services.readiness.report(nodes=True)
        assert (report["heartbeat"], [each["id"] for each in report["nodes"]]) == ("ok", [report["node"]])


async def test_a_heartbeat_that_is_broken_for_good_leaves_the_node_ready() -> None:
    nodes = Nodes()
    async with world(store=SharedStore(), shared=nodes) as w:
        nodes.away = RuntimeError("a bug of ours")
        await w.clock.run(300.0)
        assert "loop_failed" in w.observer.alerted()
        assert (await w.services.readiness.report())[0]
        nodes.away = None


async def test_a_node_that_cannot_be_taken_off_the_list_stops_all_the_same() -> None:
    nodes = Nodes()
    async with world(store=SharedStore(), shared=nodes) as w:
        nodes.away = GONE
    assert w.observer.alerted()[-1] == "node_not_retired"


async def test_the_probe_lists_all_nodes_when_asked_for_everything() -> None:
    nodes = Nodes()
    async with door(store=SharedStore(), shared=nodes) as api:
        other = NodeRecord(
            id="other", address="http://10.0.0.2:8340", roles=("api",), version="0.1.0", started_at=0, seen_at=1500
        )
        nodes.records["other"] = other
        await api.world.clock.run(3.0)
        report = (await api.client.get("/readyz?verbose")).json()
        assert [each["id"] for each in report["nodes"]] == ["other", report["node"]]
        assert report["nodes"][0] == {
            **msgspec.to_builtins(other),
            "roles": ["api"],
            "started_at": "1970-01-01T00:00:00.000Z",
            "seen_at": "1970-01-01T00:00:01.500Z",
        }


async def test_a_node_alone_with_its_database_lists_nobody() -> None:
    async with door() as api:
        assert "nodes" not in (await api.client.get("/readyz?verbose")).json()
