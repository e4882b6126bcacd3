"""A disk that is full, really: writes are refused and nothing acknowledged is lost, until there is room again."""

import os
import resource
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.caller import Answer, Caller
from tests.e2e.node import Node
from tests.e2e.waiting import eventually

DISK_BYTES = 4 * 1024 * 1024
PAYLOAD = "x" * 60_000


class Disk(ABC):
    """Where the database lies, and how its room ends and comes back."""

    folder: Path

    @abstractmethod
    def fill(self, node: Node) -> None:
        """From now on there is next to no room."""

    @abstractmethod
    def make_room(self, node: Node) -> None:
        """There is room again."""


class SmallFileSystem(Disk):
    """A file system in memory, filled up by a file of somebody else's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(self.folder)]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"cannot mount a small file system: {error}")
        if done.returncode:
            pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")

    def fill(self, node: Node) -> None:
        room = os.statvfs(self.folder)
        with (self.folder / "somebody_elses").open("wb") as file:
            file.write(bytes(max(0, room.f_bavail * room.f_frsize - 300_000)))

    def make_room(self, node: Node) -> None:
        (self.folder / "somebody_elses").unlink()

    def unmount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=True)


class SmallFiles(Disk):
    """The kernel's limit on the size of the files that a process writes."""

    def __init__(self, folder: Path) -> None:
        if not hasattr(resource, "prlimit"):
            pytest.skip("this system cannot limit the files of a running process")
        self.folder = folder

    def fill(self, node: Node) -> None:
        largest = max(each.stat().st_size for each in self.folder.iterdir())
        self._limit(node, largest + 300_000)

    def make_room(self, node: Node) -> None:
        self._limit(node, resource.RLIM_INFINITY)

    def _limit(self, node: Node, bytes_max: int) -> None:
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))


@pytest.fixture(params=["small file system", "small files"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be filled."""
    if request.param == "small files":
        yield SmallFiles(tmp_path)
        return
    small = SmallFileSystem(tmp_path)
    yield small
    small.unmount()


def test_a_full_disk_refuses_writes_loses_nothing_and_heals_by_itself(disk: Disk, tmp_path: Path) -> None:
    with Node(tmp_path, database=disk.folder / "node.db") as node, node.caller("orders") as caller:
        # Given messages on a disk that then fills up
        caller.put_topic("orders.created", "billing").require(201)
        kept = [caller.publish("orders.created", f"{n}{PAYLOAD}") for n in range(3)]
        disk.fill(node)

        # When prepares come until there is no room
        refused = _prepare_until_refused(caller, kept)

        # Then they are refused with a promise to come back, the node is not ready, and what is there can be read
        assert int(refused.headers["retry-after"]) >= 1
        eventually(lambda: caller.get("/readyz").status, lambda status: status == 503)
        assert caller.get("/livez").status == 200
        assert caller.message(kept[0])["payload"] == f"0{PAYLOAD}"
        assert len(caller.get("/v1/messages", limit=200).require(200)["messages"]) == len(kept)
        for verb in ("complete", "cancel", "confirm"):
            answer = getattr(caller, verb)(kept[1])
            assert answer.status in {200, 409, 503}, answer
        _prepare(caller, "still").refused(503)

        # When there is room again, the node serves again by itself, and everything acknowledged is there
        disk.make_room(node)
        eventually(lambda: _prepare(caller, "healed").status, lambda status: status == 201)
        eventually(lambda: caller.get("/readyz").status, lambda status: status == 200)
        _require_all(caller, kept)
        node.restart()
        _require_all(caller, kept)


def test_a_node_killed_on_a_full_disk_starts_again_and_lost_nothing(disk: Disk, tmp_path: Path) -> None:
    with Node(tmp_path, database=disk.folder / "node.db") as node, node.caller("orders") as caller:
        caller.put_topic("orders.created", "billing").require(201)
        kept = [caller.publish("orders.created", f"{n}{PAYLOAD}") for n in range(3)]
        disk.fill(node)
        _prepare_until_refused(caller, kept)
        node.kill9()
        if isinstance(disk, SmallFileSystem):
            # A limit on file sizes ends with the process; a full file system stays.
            disk.make_room(node)

        node.start()

        _require_all(caller, kept)


def _prepare(caller: Caller, payload: str) -> Answer:
    return caller.prepare("orders.created", payload + PAYLOAD, confirmed=True)


def _prepare_until_refused(caller: Caller, kept: list[str]) -> Answer:
    """Prepare, remembering what was acknowledged, until the disk is full; that refusal."""
    for number in range(len(kept), len(kept) + 200):
        answer = _prepare(caller, str(number))
        if answer.status != 201:
            answer.refused(503)
            return answer
        kept.append(answer.json["id"])
    raise AssertionError("The disk never filled up.")


def _require_all(caller: Caller, kept: list[str]) -> None:
    for number, message_id in enumerate(kept):
        seen = caller.message(message_id)
        assert seen["payload"] == f"{number}{PAYLOAD}"
        assert seen["status"] in {"pending_send", "sent", "completed"}
