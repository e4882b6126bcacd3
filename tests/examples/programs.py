"""The examples' programs as processes: started where a user would start them, ended by their id."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

PATIENCE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.05


@contextmanager
def running(command: Sequence[str], folder: Path, log: Path, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A program that runs until the block ends; what it says goes to `log`."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *command] if not command[0].endswith(".py") else [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def done(command: Sequence[str], folder: Path, **environment: str) -> str:
    """Run a program to its end and insist that it went well; what it printed."""
    finished = subprocess.run(
        [sys.executable, "-m", *command] if not command[0].endswith(".py") else [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def await_that(what: Callable[[], bool], log: Path | None = None) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not what():
        said = log.read_text(errors="replace")[-3000:] if log and log.exists() else ""
        assert time.monotonic() < until, f"It did not come to hold within {PATIENCE_SECONDS} s.\n{said}"
        time.sleep(LOOK_AGAIN_SECONDS)


def post(url: str, body: str) -> int | None:
    """POST JSON; the status, or None if nobody listens yet."""
    request = Request(url, data=body.encode(), headers={"content-type": "application/json"}, method="POST")  # noqa: S310 - our own
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
            status: int = answer.status
            return status
    except URLError as error:
        return getattr(error, "code", None)
