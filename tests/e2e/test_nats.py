"""A real node and a real NATS, which is killed, cut off, silent or emptied: nothing is lost, and nothing is made up."""

import asyncio
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from tests.e2e.caller import Caller
from tests.e2e.names import fresh, new_id
from tests.e2e.nats_consumer import NatsConsumer
from tests.e2e.node import Node
from tests.e2e.waiting import await_status, eventually
from tests.servers import require_server
from tests.servers.nats import Nats
from tests.servers.proxy import FORWARD, Fate, Fault, FaultProxy

_log = logging.getLogger(__name__)

MESSAGES = 2000
BATCH = 100
# After so many batches it begins.
UNDER_WAY = 3
# The service gives up on an answer after five seconds.
PAUSE_SECONDS = 7.0


@pytest.fixture
def own_nats() -> Iterator[Nats]:
    """A NATS for this test alone."""
    server = Nats.found()
    require_server(Nats.name, found=server is not None)
    assert server is not None
    with server:
        yield server


@contextmanager
def node_on(folder: Path, url: str) -> Iterator[Node]:
    """A node that delivers through NATS."""
    with Node(folder, options=["--broker", url]) as node:
        yield node
        node.terminate()
        assert "Traceback" not in node.log.read_text(errors="replace"), node.log_tail()


def readiness(node: Node) -> Any:
    """What the node says of itself."""
    with node.caller() as caller:
        return caller.get("/readyz?verbose").json


def prepared(orders: Caller, topic: str, count: int) -> list[str]:
    """Prepared messages; their ids."""
    ids = [new_id() for _ in range(count)]
    items = [{"id": each, "topic": topic, "payload": {"number": number}} for number, each in enumerate(ids)]
    assert all("error" not in each for each in orders.batch("prepare", *items))
    return ids


def say(orders: Caller, verb: str, ids: list[str]) -> None:
    """Confirm or cancel."""
    assert all("error" not in each for each in orders.batch(verb, *({"id": each} for each in ids)))


def statuses(orders: Caller, ids: list[str]) -> dict[str, int]:
    """How many of these messages have which status."""
    counted: dict[str, int] = {}
    for start in range(0, len(ids), 1000):
        for each in orders.batch("status", *({"id": each} for each in ids[start : start + 1000])):
            counted[each["status"]] = counted.get(each["status"], 0) + 1
    return counted


def test_a_message_goes_through_nats_to_a_plain_consumer_that_completes_it_over_http(
    tmp_path: Path, own_nats: Nats
) -> None:
    topic = fresh("orders.created.")
    with node_on(tmp_path, own_nats.url) as node, node.caller("orders") as orders, node.caller("billing") as billing:
        billing.put_topic(topic, "billing").require(201)
        assert readiness(node)["broker"] == "ok"
        with NatsConsumer(own_nats.url, node, topic=topic, subscription="billing", app="billing") as consumer:
            unconfirmed, cancelled = (orders.prepare(topic, {"order": n}).require(201)["id"] for n in (41, 43))
            message_id = orders.prepare(topic, {"order": 42}, key="42", headers={"tenant": "7"}).require(201)["id"]
            orders.confirm(message_id).require(200)
            orders.cancel(cancelled).require(200)
            await_status(orders, message_id, "completed")
            assert consumer.delivered == {message_id: 1}
            assert consumer.payloads[message_id] == b'{"order": 42}'
            headers = consumer.headers[message_id]
        assert (
            headers.items()
            >= {
                "aftercommit-id": message_id,
                "aftercommit-topic": topic,
                "aftercommit-attempt": "1",
                "aftercommit-key": "42",
                "aftercommit-app": "orders",
                "content-type": "application/json",
                "tenant": "7",
                "Nats-Msg-Id": f"{message_id}:*:1",
            }.items()
        )
        assert orders.status(unconfirmed) == "pending_confirmation"
        billing.pull_answer(topic, "billing").refused(409, code="pull_not_available")


def test_a_node_starts_while_nats_is_down_says_so_and_delivers_when_it_comes(tmp_path: Path, own_nats: Nats) -> None:
    own_nats.kill9()
    topic = fresh("orders.created.")
    began = time.monotonic()
    with node_on(tmp_path, own_nats.url) as node, node.caller("orders") as orders:
        assert time.monotonic() - began < 10
        orders.put_topic(topic, "billing", policy={"publish_attempts_max": 1}).require(201)
        ids = prepared(orders, topic, 100)
        say(orders, "confirm", ids)
        told = eventually(lambda: readiness(node), lambda said: "cannot be reached" in said["broker"])
        assert told["ready"]
        assert "broker_unavailable" in node.log.read_text()
        assert statuses(orders, ids) == {"pending_send": 100}
        assert orders.message(ids[0])["attempts"] == 0
        own_nats.start()
        with NatsConsumer(own_nats.url, node, topic=topic, subscription="billing", app="orders") as consumer:
            eventually(lambda: statuses(orders, ids), lambda now: now == {"completed": 100})
        assert consumer.delivered == dict.fromkeys(ids, 1)
        assert readiness(node)["broker"] == "ok"


class Initiator(threading.Thread):
    """Prepares batch after batch; confirms most of each and cancels the rest."""

    def __init__(self, node: Node, topic: str) -> None:
        super().__init__(name="initiator", daemon=True)
        self.confirmed: list[str] = []
        self.cancelled: list[str] = []
        self.under_way = threading.Event()
        self._node = node
        self._topic = topic

    def run(self) -> None:
        """All of it."""
        with self._node.caller("orders") as orders:
            for batch in range(MESSAGES // BATCH):
                ids = prepared(orders, self._topic, BATCH + 5)
                say(orders, "confirm", ids[:BATCH])
                say(orders, "cancel", ids[BATCH:])
                self.confirmed += ids[:BATCH]
                self.cancelled += ids[BATCH:]
                if batch == UNDER_WAY:
                    self.under_way.set()
                time.sleep(0.1)


def kill_and_restart(server: Nats, _fates: list[Fate]) -> None:
    """Power off and on."""
    server.kill9()
    time.sleep(1)
    server.start()


def cut(_server: Nats, fates: list[Fate]) -> None:
    """The connection breaks in the middle of a window, three times."""
    for _ in range(3):
        fates.append(Fate.CUT)
        eventually(lambda: len(fates), lambda left: left == 0)


def lose_answers(_server: Nats, fates: list[Fate]) -> None:
    """Windows arrive and their answers do not, three times."""
    for _ in range(3):
        fates.append(Fate.LOSE_ANSWER)
        eventually(lambda: len(fates), lambda left: left == 0)


def pause(server: Nats, _fates: list[Fate]) -> None:
    """The server stands still for longer than the service waits for an answer."""
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(PAUSE_SECONDS)
    os.kill(server.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [kill_and_restart, cut, lose_answers, pause])
def test_two_thousand_messages_survive_what_happens_to_nats(
    tmp_path: Path,
    own_nats: Nats,
    harm: Callable[[Nats, list[Fate]], None],
) -> None:
    topic = fresh("orders.created.")
    fates: list[Fate] = []

    def decide(piece: bytes) -> Fault:
        return Fault(fates.pop(), 0.2) if fates and b"HPUB" in piece else FORWARD

    with (
        FaultProxy(own_nats.port, decide) as proxy,
        node_on(tmp_path, f"nats://127.0.0.1:{proxy.port}") as node,
        node.caller("orders") as orders,
    ):
        policy = {"redelivery_seconds": [3], "deliveries_max": 100, "publish_attempts_max": 1}
        orders.put_topic(topic, "billing", policy=policy).require(201)
        with NatsConsumer(own_nats.url, node, topic=topic, subscription="billing", app="orders") as consumer:
            initiator = Initiator(node, topic)
            initiator.start()
            assert initiator.under_way.wait(20)
            # Here, and not there: a server ends with the thread that started it.
            harm(own_nats, fates)
            initiator.join()
            confirmed, cancelled = initiator.confirmed, initiator.cancelled
            assert len(confirmed) == MESSAGES
            eventually(lambda: statuses(orders, confirmed), lambda now: now == {"completed": MESSAGES}, 60)
        # It did happen, and the node noticed.
        assert "broker_unavailable" in node.log.read_text()
        duplicates = consumer.delivered.total() - len(consumer.delivered)
        _log.info("%s: %d of %d messages came more than once.", harm.__name__, duplicates, MESSAGES)
        assert set(consumer.delivered) == consumer.reported == set(confirmed)
        assert statuses(orders, cancelled) == {"rolled_back": len(cancelled)}
        refused = re.search(r'aftercommit_publish_total\{result="refused"\} (\S+)', _metrics(node))
        assert refused is None or float(refused.group(1)) == 0


@pytest.mark.parametrize("how", ["deleted", "purged"])
def test_what_nats_accepted_and_lost_comes_home_by_redelivery(tmp_path: Path, own_nats: Nats, how: str) -> None:
    topic = fresh("orders.created.")
    with node_on(tmp_path, own_nats.url) as node, node.caller("orders") as orders:
        policy = {"redelivery_seconds": [1], "deliveries_max": 100}
        orders.put_topic(topic, "billing", policy=policy).require(201)
        ids = prepared(orders, topic, 20)
        say(orders, "confirm", ids)
        eventually(lambda: statuses(orders, ids), lambda now: now == {"sent": 20})
        asyncio.run(_empty(own_nats.url, how))
        with NatsConsumer(own_nats.url, node, topic=topic, subscription="billing", app="orders") as consumer:
            eventually(lambda: statuses(orders, ids), lambda now: now == {"completed": 20}, 30)
        assert set(consumer.delivered) == set(ids)
        assert {each["aftercommit-for"] for each in consumer.headers.values()} == {"billing"}


def test_what_is_given_up_and_redelivered_at_once_arrives_although_nats_knew_its_number(
    tmp_path: Path, own_nats: Nats
) -> None:
    topic = fresh("orders.created.")
    with node_on(tmp_path, own_nats.url) as node, node.caller("orders") as orders, node.caller() as operator:
        policy = {"redelivery_seconds": [0.1], "deliveries_max": 1}
        orders.put_topic(topic, "billing", policy=policy).require(201)
        message_id = orders.publish(topic, {"order": 42})
        await_status(orders, message_id, "undelivered")
        asyncio.run(_empty(own_nats.url, "purged"))
        orders.put_topic(topic, "billing", policy={"redelivery_seconds": [60]}).require(200)
        operator.operate(message_id, "redeliver").require(200)
        with NatsConsumer(own_nats.url, node, topic=topic, subscription="billing", app="orders") as consumer:
            await_status(orders, message_id, "completed")
        assert consumer.headers[message_id]["aftercommit-attempt"] == "1"


def test_a_node_without_nats_py_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "__init__.py").write_text('raise ModuleNotFoundError("No module named nats", name="nats")\n')
    import subprocess

    from tests.e2e.node import plain_environment, serve_command

    finished = subprocess.run(
        [*serve_command(tmp_path / "node.db", 0), "--broker", "nats://127.0.0.1:1"],
        env={**plain_environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert finished.returncode == 1
    assert finished.stderr.strip() == "Error: A NATS broker needs nats-py: pip install 'aftercommit[nats]'."


def _metrics(node: Node) -> str:
    with node.caller() as caller:
        return caller.get("/metrics").body.decode()


async def _empty(url: str, how: str) -> None:
    async with await nats.connect(url) as connection:
        jetstream = connection.jetstream()
        if how == "deleted":
            await jetstream.delete_stream("AFTERCOMMIT")
        else:
            await jetstream.purge_stream("AFTERCOMMIT")
