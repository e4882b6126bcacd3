"""A crowd for each test, in which nothing hides that somebody was forgotten."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from aftercommit.sdk import AsyncClient, Client
from aftercommit.sdk.clients import async_gathering, blocking_gathering
from aftercommit.sdk.clients.gathering import Gathering
from tests.sdk.gathering.crowd import (
    COUNTED,
    Crowd,
)


@pytest.fixture(autouse=True)
def _joins_are_counted(monkeypatch):
    join = Gathering.join

    def counted(self, part):
        parcels = join(self, part)
        COUNTED["joins"] += 1
        return parcels

    monkeypatch.setattr(Gathering, "join", counted)


@pytest.fixture(autouse=True)
def _nobody_overtakes(monkeypatch):
    # Or it would hide that somebody was forgotten.
    monkeypatch.setattr(blocking_gathering, "OVERTAKE_SECONDS", 1000)
    monkeypatch.setattr(async_gathering, "OVERTAKE_SECONDS", 1000)


@pytest.fixture(autouse=True)
def _threads_take_turns_often():
    # So that whoever waits is not waited for, and more orders of things are met.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=[Client, AsyncClient], ids=["threads", "tasks"])
async def crowd(request):
    with ThreadPoolExecutor(80) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        made = Crowd(request.param)
        yield made
        made.gate.open()
