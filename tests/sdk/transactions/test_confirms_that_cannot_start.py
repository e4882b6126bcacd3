"""Background confirms where threads end, or cannot begin: the transaction has committed, so nothing is raised."""

import threading

import pytest

from aftercommit.sdk.transactions.confirming import BackgroundConfirms

PATIENCE_SECONDS = 10


def test_a_thread_that_cannot_start_leaves_the_confirm_to_check_back(monkeypatch, caplog):
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    calls: list[list[str]] = []
    confirms = BackgroundConfirms(lambda ids: calls.append(list(ids)))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        confirms(["a"])
    assert "left to check-back" in caplog.text
    confirms(["b"])
    confirms.close()
    assert calls == [["b"]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_closing_after_the_thread_died_does_not_stop_the_next_one_at_its_start():
    started: list[threading.Thread] = []
    confirmed = threading.Event()

    def confirm(ids) -> None:
        started.append(threading.current_thread())
        if ids == ["a"]:
            raise KeyError
        confirmed.set()

    confirms = BackgroundConfirms(confirm)
    confirms(["a"])
    for thread in threading.enumerate():
        if thread.name == "aftercommit-confirms":
            thread.join(PATIENCE_SECONDS)
    confirms.close()
    confirms(["b"])
    assert confirmed.wait(PATIENCE_SECONDS)
    confirms.close()
