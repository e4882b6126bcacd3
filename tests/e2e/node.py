"""A real node: the program that users start, as a process of its own, with a caller that speaks bare HTTP to it."""

from typing import Any

from aftercommit.sdk import Client
from aftercommit.testing.node_process import START_SECONDS, STOP_SECONDS, Server, plain_environment, serve_command
from tests.e2e.caller import TIMEOUT_SECONDS, Caller

__all__ = ["START_SECONDS", "STOP_SECONDS", "Node", "plain_environment", "serve_command"]


class Node(Server):
    """The node that users get for their tests. Without a name its clients are the operator."""

    def caller(self, app: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Caller:
        """Somebody who speaks HTTP to this node: an application, or (without a name) the node's operator."""
        return Caller(self.port, app, timeout_seconds=timeout_seconds)

    def client(self, app: str | None = None, **options: Any) -> Client:
        """The SDK's client of this node."""
        return super().client(app, **options)
