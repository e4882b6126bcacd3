"""What a node does when it ends and begins again: after kill -9, after SIGTERM, and when it may not begin at all."""

import signal
import subprocess
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.caller import Caller
from tests.e2e.initiator import Initiator, Reply, always
from tests.e2e.names import fresh, new_id
from tests.e2e.node import Node, plain_environment, serve_command
from tests.e2e.raw_http import Wire, request
from tests.e2e.waiting import InBackground, await_status, eventually

JITTER = 0.2
REFUSED_WITHIN_SECONDS = 8.0


def test_what_nobody_had_pulled_can_be_pulled_at_once_after_a_kill(own_node: Node) -> None:
    topic, app = fresh("orders."), fresh("orders-")
    with own_node.caller(app) as caller:
        caller.put_topic(topic, "billing", policy={"redelivery_seconds": [3600]}).require(201)
        sent = caller.publish(topic, "sent")
        await_status(caller, sent, "sent")
        just_confirmed = caller.prepare(topic, "just confirmed").require(201)["id"]
        caller.confirm(just_confirmed).require(200)

        own_node.restart()

        ready_at = time.monotonic()
        assert {caller.pull_one(topic, "billing")["id"] for _ in range(2)} == {sent, just_confirmed}
        assert time.monotonic() - ready_at < 2.0


def test_what_was_pulled_comes_back_after_a_kill_in_its_time_and_not_before(own_node: Node) -> None:
    redelivery_seconds = 3.0
    topic, app = fresh("orders."), fresh("orders-")
    with own_node.caller(app) as caller:
        caller.put_topic(topic, "billing", policy={"redelivery_seconds": [redelivery_seconds]}).require(201)
        message_id = caller.publish(topic)
        asked_at = time.monotonic()
        assert caller.pull_one(topic, "billing")["attempt"] == 1
        pulled_at = time.monotonic()

        own_node.restart()

        assert caller.pull(topic, "billing") == []
        again = caller.pull_one(topic, "billing")
        assert (again["id"], again["attempt"]) == (message_id, 2)
        assert time.monotonic() - asked_at > redelivery_seconds * (1 - JITTER)
        assert time.monotonic() - pulled_at < redelivery_seconds * (1 + JITTER) + 2.0
        assert caller.complete(message_id).require(200)["status"] == "completed"


def test_everything_that_waits_waits_through_a_kill(own_node: Node) -> None:
    """A delay, a check, a pause, a used-up budget, a tombstone, an unconfirmed message and every setting."""
    topic, app = fresh("orders."), fresh("orders-")
    with own_node.caller(app) as caller, Initiator(always("committed")) as initiator:
        caller.put(f"/v1/apps/{app}", {"check_url": initiator.url, "check_signed": False}).require(201)
        caller.put_topic(topic, "billing", policy={"redelivery_seconds": [0.1], "deliveries_max": 1}).require(201)
        began = time.monotonic()
        delayed = caller.publish(topic, "delayed", delay_seconds=2.5)
        unchecked = caller.prepare(topic + ".checked", check_after_seconds=1.5).require(201)["id"]
        waiting = caller.prepare(topic).require(201)["id"]
        buried = new_id()
        caller.cancel(buried)
        paused = topic + ".paused"
        held = caller.publish(paused, "held")
        caller.post(f"/v1/topics/{paused}/pause").require(200)
        parked = caller.publish(topic, "parked")
        assert caller.pull_one(topic, "billing")["id"] == parked
        await_status(caller, parked, "undelivered")
        settings = [caller.get(path).require(200) for path in (f"/v1/topics/{topic}", f"/v1/apps/{app}")]

        own_node.restart()

        assert [caller.get(path).require(200) for path in (f"/v1/topics/{topic}", f"/v1/apps/{app}")] == settings
        assert caller.pull_one(topic, "billing")["id"] == delayed
        assert time.monotonic() - began > 2.5
        await_status(caller, unchecked, "sent")
        assert caller.status(waiting) == "pending_confirmation"
        assert caller.confirm(waiting).require(200)
        caller.prepare(topic, id=buried).refused(409, code="rolled_back")
        assert caller.status(parked) == "undelivered"
        assert caller.pull(paused, "default", wait_seconds=0.2) == []
        caller.post(f"/v1/topics/{paused}/resume").require(200)
        assert caller.pull_one(paused, "default")["id"] == held


def test_a_stop_sends_waiting_consumers_home_and_ends_well(own_node: Node) -> None:
    topic, app = fresh("orders."), fresh("orders-")
    with own_node.caller(app) as caller, own_node.caller(app) as other:
        caller.put_topic(topic, "billing").require(201)
        with (
            InBackground(lambda: caller.pull_answer(topic, "billing", wait_seconds=30)) as poll,
            InBackground(lambda: other.post(f"/v1/apps/{app}/checks/pull", {"wait_seconds": 30})) as check_poll,
        ):
            time.sleep(0.5)
            began = time.monotonic()
            own_node.terminate(within_seconds=10)
            assert poll.result(1).require(200) == {"messages": []}
            assert check_poll.result(1).require(200) == {"checks": []}
            assert time.monotonic() - began < 5


def test_a_stop_finishes_what_was_begun(own_node: Node) -> None:
    """A request of which half has come is in flight: its other half still gets its answer, and that answer stands."""
    message_id = new_id()
    whole = request("POST", "/v1/messages", b'{"topic": "late", "payload": 1, "id": "%b"}' % message_id.encode())
    with Wire(own_node.port) as wire:
        wire.send(whole[:-10])
        time.sleep(0.3)
        own_node.signal(signal.SIGTERM)
        time.sleep(0.5)
        wire.send(whole[-10:])
        answers = wire.read_to_end().answers
    own_node.await_end()

    assert [each.status for each in answers] == [201]
    own_node.start()
    with own_node.caller() as caller:
        assert caller.status(message_id) == "pending_confirmation"


def test_a_node_that_stops_is_not_ready_and_still_answers(own_node: Node) -> None:
    """A check that hangs keeps the node from ending; meanwhile a load balancer must hear that it is going."""
    topic, app = fresh("orders."), fresh("orders-")
    with (
        Initiator(lambda asked: Reply(status=503 if initiator.closing.wait(2.5) else 500)) as initiator,
        own_node.caller(app) as caller,
        own_node.caller() as probe,
    ):
        caller.put(f"/v1/apps/{app}", {"check_url": initiator.url, "check_signed": False}).require(201)
        message_id = caller.prepare(topic, check_after_seconds=0).require(201)["id"]
        eventually(lambda: len(initiator.asked), lambda count: count == 1)

        own_node.signal(signal.SIGTERM)

        assert eventually(lambda: probe.get("/readyz").status, lambda status: status != 200, 2) == 503
        assert probe.get("/livez").status == 200
        assert caller.status(message_id) == "pending_confirmation"
        own_node.await_end()


def test_a_stop_under_load_loses_nothing_acknowledged(own_node: Node) -> None:
    acknowledged: list[str] = []

    def prepare_until_it_is_gone() -> None:
        with own_node.caller("orders") as caller:
            try:
                while (answer := caller.prepare("orders.created", "x" * 1000, confirmed=True)).status == 201:
                    acknowledged.append(answer.json["id"])
            except (OSError, HTTPException):
                return
            answer.refused(503)

    with InBackground(prepare_until_it_is_gone) as one, InBackground(prepare_until_it_is_gone) as two:
        time.sleep(0.7)
        own_node.terminate()
        one.result()
        two.result()

    assert len(acknowledged) > 100
    own_node.start()
    with own_node.caller("orders") as caller:
        statuses = [
            each.get("status")
            for start in range(0, len(acknowledged), 1000)
            for each in caller.batch("status", *({"id": each} for each in acknowledged[start : start + 1000]))
        ]
    assert set(statuses) <= {"pending_send", "sent"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_node_ends_quickly(own_node: Node, number: signal.Signals) -> None:
    with own_node.caller() as idle:
        assert idle.get("/livez").status == 200
        own_node.signal(number)
        own_node.await_end(within_seconds=5)


def test_a_second_node_on_the_same_file_is_refused_and_harms_nobody(own_node: Node, tmp_path: Path) -> None:
    with own_node.caller() as caller:
        message_id = caller.publish("orders.created")

        _require_one_sentence(_run(serve_command(own_node.database, 0), tmp_path), str(own_node.database))

        assert caller.complete(message_id).require(200)["status"] == "completed"
        own_node.restart()
        assert caller.status(message_id) == "completed"


@pytest.mark.parametrize("kind", ["symbolic link", "dots", "link to the folder"])
def test_a_second_node_is_refused_by_whatever_name_it_calls_the_file(own_node: Node, tmp_path: Path, kind: str) -> None:
    match kind:
        case "symbolic link":
            same = tmp_path / "link.db"
            same.symlink_to(own_node.database)
        case "dots":
            (tmp_path / "inner").mkdir()
            same = tmp_path / "inner" / ".." / own_node.database.name
        case _:
            (tmp_path / "folder").symlink_to(own_node.database.parent)
            same = tmp_path / "folder" / own_node.database.name

    _require_one_sentence(_run(serve_command(same, 0), tmp_path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_node_without_keys_listens_to_this_machine_only(tmp_path: Path, host: str) -> None:
    command = serve_command(tmp_path / "node.db", 0)
    command[command.index("127.0.0.1")] = host
    _require_one_sentence(_run(command, tmp_path), "key")


@pytest.mark.parametrize(
    "options",
    [
        ("--workers", "2"),
        ("--broker", "carrier-pigeon://"),
        ("--database", "oracle://x"),
        ("--database", "sqlite:////proc/nowhere/node.db"),
        ("--port", "99999"),
        ("--roles", "api,sleep"),
        ("--log-level", "loud"),
    ],
    ids=" ".join,
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(tmp_path: Path, options: tuple[str, ...]) -> None:
    _require_one_sentence(_run(serve_command(tmp_path / "node.db", 0, *options), tmp_path))


def test_a_port_that_is_taken_is_said_in_a_sentence(own_node: Node, tmp_path: Path) -> None:
    _require_one_sentence(_run(serve_command(tmp_path / "other.db", own_node.port), tmp_path), str(own_node.port))


def test_a_file_that_is_no_database_is_said_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "letter.db"
    file.write_text("Dear database, this is a letter.\n" * 200)

    _require_one_sentence(_run(serve_command(file, 0), tmp_path), "letter.db")

    assert file.read_text().startswith("Dear database"), "What is not ours is left alone."


def test_the_readiness_of_a_new_node_comes_only_when_it_can_work(tmp_path: Path) -> None:
    """The first /readyz that says 200 is followed by a prepare that works."""
    node = Node(tmp_path)
    try:
        node.start(wait=False)
        with Caller(node.port) as caller:
            node.await_ready()
            caller.prepare("orders.created").require(201)
    finally:
        node.kill9()


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=REFUSED_WITHIN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"It was not refused; it said {error.stdout!r} and runs.") from None


def _require_one_sentence(ended: "subprocess.CompletedProcess[str]", *words: str) -> None:
    said = ended.stdout + ended.stderr
    assert ended.returncode > 0, f"It ended with {ended.returncode}: {said}"
    assert 0 < len(said.strip().splitlines()) <= 3, f"More than a sentence: {said}"
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, said
