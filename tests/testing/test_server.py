"""The real node for tests: a process on a free port that keeps its messages over a kill, and ends with its test."""

import os
from pathlib import Path

import pytest

from aftercommit import testing
from aftercommit.sdk import Unreachable
from aftercommit.testing import Server, ServerFailed


async def test_it_serves_survives_a_kill_and_ends():
    with testing.server() as node:
        pid, url = node.pid, node.url
        with node.client(app="orders") as client:
            message = client.prepare("orders.created", {"order": 42})
            node.kill9()
            assert not node.running
            with node.client(app="orders", retries_max=0) as hasty, pytest.raises(Unreachable):
                hasty.confirm(message.id)
            node.restart()
            assert node.url == url
            assert client.confirm(message.id).id == message.id
        async with node.async_client(app="orders") as async_client:
            assert (await async_client.message(message.id)).json() == {"order": 42}
        pid = node.pid
        folder = node.log.parent
    assert not _is_alive(pid)
    assert not folder.exists()


def test_a_node_that_cannot_start_says_what_it_said(tmp_path: Path):
    with pytest.raises(ServerFailed, match="No such option"):
        Server(tmp_path, options=["--nonsense"]).start()


def test_a_node_is_started_once(tmp_path: Path):
    node = Server(tmp_path)
    with pytest.raises(ServerFailed, match="never started"):
        _ = node.pid
    node.kill9()
    with pytest.raises(ServerFailed, match="never started"):
        node.await_end()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
