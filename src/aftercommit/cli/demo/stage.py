"""Everything a demo has running: the directory, the ports and the processes; all of it is gone afterwards."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from aftercommit.cli.demo.processes import Janitor, Port, Process
from aftercommit.cli.demo.scene import NODE, ORDERS, POLICY, STOCK, SUBSCRIPTION, TOPIC, Scene
from aftercommit.domain.lifecycle import LIVE, Status
from aftercommit.sdk import Client, Unavailable, Unreachable
from aftercommit.wire import SubscriptionRequest

MODULES: Final = {
    NODE: "aftercommit",
    ORDERS: "aftercommit.cli.demo.order_service",
    STOCK: "aftercommit.cli.demo.stock_service",
}
_READY_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_TIMEOUT_SECONDS: Final = 5.0
_PAGE: Final = 200


class DemoFailed(Exception):
    """The demo cannot go on; the text says why, for a person."""


class Stage:
    """Built up in a `with`, and taken down at its end, whatever ended it. `modules` replaces programs, for tests."""

    def __init__(self, *, orders: int, seed: int, modules: Mapping[str, str] | None = None) -> None:
        self._ports = (Port(), Port())
        directory = Path(tempfile.mkdtemp(prefix="aftercommit-demo-")).resolve()
        self._janitor = Janitor(directory)
        self.scene = Scene(
            directory=str(directory),
            node_port=self._ports[0].number,
            check_port=self._ports[1].number,
            orders=orders,
            seed=seed,
        )
        self._client = Client(self.scene.node_url, app=ORDERS, timeout_seconds=_TIMEOUT_SECONDS, retries_max=1)
        self.processes = {name: self._process(name, module) for name, module in {**MODULES, **(modules or {})}.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._janitor.clean_up()
            for port in self._ports:
                port.close()

    def start(self) -> None:
        """Start the node, tell it who there is, then start the services. Raises `DemoFailed`."""
        self.processes[NODE].start()
        self._await_node()
        try:
            self._register()
        except (Unavailable, Unreachable) as error:
            raise DemoFailed(f"The services cannot be registered with the node: {error}") from error
        self.processes[STOCK].start()
        self.processes[ORDERS].start()

    def stop(self) -> None:
        """End every process. May be called twice."""
        self._client.close()
        for name in (ORDERS, STOCK, NODE):
            self.processes[name].stop()

    def require_running(self) -> None:
        """Raise `DemoFailed` if a process ended although nobody ended it."""
        for process in self.processes.values():
            code = process.ended_by_itself()
            if code is not None:
                raise DemoFailed(
                    f"The {process.name} process ended by itself with code {code}. Its last words:\n"
                    f"{process.last_words()}"
                )

    def live_messages(self) -> int | None:
        """How many messages still move; None while the node does not answer."""
        try:
            totals = self._client.stats().totals
        except (Unavailable, Unreachable):
            return None
        return sum(totals.get(status.value, 0) for status in LIVE)

    def messages(self) -> dict[str, Status]:
        """Every message the node has, with its status. Raises `DemoFailed` if it does not answer."""
        try:
            return {each.id: Status(each.status) for each in self._client.messages(limit=_PAGE)}
        except (Unavailable, Unreachable) as error:
            raise DemoFailed(f"The node's messages cannot be read: {error}") from error

    def _register(self) -> None:
        self._client.put_app(ORDERS, check_url=self.scene.check_url)
        self._client.put_app(STOCK)
        subscription = SubscriptionRequest(name=SUBSCRIPTION, app=STOCK)
        self._client.put_topic(TOPIC, subscriptions=[subscription], policy=POLICY)

    def _await_node(self) -> None:
        until = time.monotonic() + _READY_SECONDS
        while not self._client.ready():
            self.require_running()
            if time.monotonic() > until:
                raise DemoFailed(f"The node is not ready after {_READY_SECONDS:.0f} s.")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _process(self, name: str, module: str) -> Process:
        log = self.scene.log(name)
        if name == NODE:
            scene = self.scene
            port, database = str(scene.node_port), scene.node_database
            return Process(name, [module, "serve", "--port", port, "--database", database], log)
        return Process(name, [module, msgspec.json.encode(self.scene).decode()], log)
