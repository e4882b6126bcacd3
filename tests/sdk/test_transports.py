"""The seam: scripted transports, and that importing the SDK touches nothing."""

import subprocess
import sys

import pytest

from aftercommit.sdk import Client
from aftercommit.sdk.transports.port import ScriptedTransport
from tests.sdk.answering import STATUS
from tests.sdk.transports.asking import request


def test_the_last_function_of_a_script_answers_for_ever():
    transport = ScriptedTransport([lambda request: STATUS])

    for _ in range(3):
        Client(transport=transport).confirm("1")

    assert len(transport.requests) == 3


def test_a_script_that_ran_out_says_what_was_asked():
    with pytest.raises(AssertionError, match="POST http"):
        ScriptedTransport().send(request("http://127.0.0.1:1/"))


def test_importing_the_sdk_opens_no_socket_and_starts_no_thread():
    code = (
        "import sys, threading\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith('socket.') else None)\n"
        "import aftercommit.sdk\n"
        "client = aftercommit.sdk.Client()\n"
        "aftercommit.sdk.AsyncClient()\n"
        "assert not seen, seen\n"
        "assert threading.active_count() == 1\n"
        "assert not {'click', 'httpx2', 'aiohttp', 'sqlalchemy', 'django'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
