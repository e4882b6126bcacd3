"""What users need to test their own code against AfterCommit: the service in the test's process, or a real one.

    from aftercommit.testing import CRASH_POINTS, InMemoryService

    with InMemoryService() as service:
        client = service.client(app="orders")
        client.prepare("orders.created", {"order": 42}, confirmed=True)
        service.assert_published("orders.created", payload={"order": 42})

With pytest the fixtures `aftercommit` (an `InMemoryService`) and `aftercommit_server` (a `Server`) are there by
themselves. What is here needs `pip install 'aftercommit[server]'`; it is imported when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aftercommit.testing.checkback import AnsweredCheck, CheckSource
    from aftercommit.testing.clock import ManualClock
    from aftercommit.testing.draining import Drained, Receiver
    from aftercommit.testing.faults import CRASH_POINTS, Crash, Crashed, LostAnswers
    from aftercommit.testing.node_process import Server, ServerFailed, server
    from aftercommit.testing.observer import RecordingObserver
    from aftercommit.testing.service import InMemoryService

__all__ = [
    "CRASH_POINTS",
    "AnsweredCheck",
    "CheckSource",
    "Crash",
    "Crashed",
    "Drained",
    "InMemoryService",
    "LostAnswers",
    "ManualClock",
    "Receiver",
    "RecordingObserver",
    "Server",
    "ServerFailed",
    "server",
]

_WHERE: Final = {
    "CRASH_POINTS": "faults",
    "AnsweredCheck": "checkback",
    "CheckSource": "checkback",
    "Crash": "faults",
    "Crashed": "faults",
    "Drained": "draining",
    "InMemoryService": "service",
    "LostAnswers": "faults",
    "ManualClock": "clock",
    "Receiver": "draining",
    "RecordingObserver": "observer",
    "Server": "node_process",
    "ServerFailed": "node_process",
    "server": "node_process",
}
_INSTALL: Final = "Testing against AfterCommit needs the service itself: pip install 'aftercommit[server]'"


if not TYPE_CHECKING:  # or type checkers would take every name for granted

    def __getattr__(name: str) -> Any:
        # Late, so that pytest may load the plug-in beside this file in projects that never use it.
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{__name__}.{_WHERE[name]}")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{_INSTALL} ({error}).", name=error.name) from error
        return getattr(module, name)
