"""An application to ask, and the check-back that asks it."""

import itertools

import pytest

from aftercommit.checkbacks.http import HttpCheckback
from aftercommit.domain.catalog import App, Secret
from aftercommit.ports.checkback import Question
from aftercommit.signatures import new_secret
from aftercommit.testing.clock import START_MS, ManualClock
from aftercommit.testing.observer import RecordingObserver

NOW_SECONDS = START_MS // 1000
OLD = new_secret(b"o" * 24)
NEW = new_secret(b"n" * 32)
FOREIGN = new_secret(b"f" * 32)
# Long enough for an answer from this machine, short enough to wait for.
SHORT_SECONDS = 0.2


def app(url: str | None, *, signed: bool = False, secrets: tuple[str, ...] = ()) -> App:
    made = tuple(Secret(id=f"s{number}", value=value, created_at=0) for number, value in enumerate(secrets))
    return App(id=1, name="orders", created_at=0, check_url=url, check_signed=signed, secrets=made)


def ask_about(*ids: str) -> list[Question]:
    return [
        Question(id=each, topic="orders.created", key=None, hint=None, prepared_at=START_MS, check=1) for each in ids
    ]


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def make_checkback(observer):
    ids = itertools.count(1)

    def make(deadline_seconds: float = 5.0) -> HttpCheckback:
        return HttpCheckback(
            clock=ManualClock(), observer=observer, new_id=lambda: str(next(ids)), deadline_seconds=deadline_seconds
        )

    return make


@pytest.fixture
async def checkback(make_checkback):
    made = make_checkback()
    yield made
    await made.close()


@pytest.fixture
async def hasty(make_checkback):
    """A check-back with little patience."""
    made = make_checkback(SHORT_SECONDS)
    yield made
    await made.close()
