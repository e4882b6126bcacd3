"""What a service would answer, for scripts of a transport."""

from typing import Any

import msgspec

from aftercommit.sdk.answers import Response
from aftercommit.wire import Problem

ID = "01a20845-a5a1-72c7-be83-0cfa850d4999"
OTHER_ID = "01a20845-a5a1-72c7-be83-0cfa850d4998"


def answered(document: Any, status: int = 200) -> Response:
    """An answer with a JSON body."""
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(document))


def refused(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    """A problem."""
    problem = Problem(title="A title", status=status, detail="A sentence.", code=code, **fields)
    return Response(status, headers or {}, msgspec.json.encode(problem))


STATUS = answered({"id": ID, "status": "pending_confirmation"})


class Sleeper:
    """Sleeps by moving its own clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
