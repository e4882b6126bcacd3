"""What an error says besides why: which step failed, whether that may be ignored, and the same in every process."""

import copy
import pickle

import pytest

from aftercommit.sdk import (
    AfterCommitClientError,
    AlreadyConfirmed,
    Client,
    Denied,
    Invalid,
    NotFound,
    RolledBack,
    Unavailable,
    Unexpected,
    Unreachable,
)
from aftercommit.sdk.clients.answers import Response
from aftercommit.sdk.clients.exchange import NoAnswer
from aftercommit.sdk.transports.port import ScriptedTransport
from tests.sdk.answering import ID, answered, refused

LOST = NoAnswer("the connection was lost", perhaps_received=True)
BUSY = refused(503, "busy")
STRANGE = Response(404, {}, b"<html>")
STEPS = {
    "prepare": lambda client: client.prepare("t", 1),
    "confirm": lambda client: client.confirm(ID),
    "cancel": lambda client: client.cancel(ID),
    "complete": lambda client: client.complete(ID),
    "fail": lambda client: client.fail(ID, "why"),
    "pull": lambda client: client.pull("t", "s"),
    "recheck": lambda client: client.recheck(ID),
    "put_topic": lambda client: client.put_topic("t"),
}
SETTLED_LATER = {"confirm", "cancel", "complete", "fail"}


def error_of(step, answer):
    with pytest.raises(AfterCommitClientError) as raised:
        STEPS[step](Client(transport=ScriptedTransport([answer]), retries_max=0))
    return raised.value


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("answer", "kind"), [(LOST, Unreachable), (BUSY, Unavailable), (STRANGE, Unexpected)])
def test_a_step_without_an_answer_may_be_ignored_if_the_service_settles_it_later(step, answer, kind):
    error = error_of(step, answer)

    assert (type(error), error.step) == (kind, step)
    assert error.safe_to_ignore is (step in SETTLED_LATER)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(401, "unauthorized"), Denied),
        (refused(404, "unknown_message"), NotFound),
        (refused(409, "rolled_back"), RolledBack),
        (refused(409, "already_confirmed"), AlreadyConfirmed),
        (refused(422, "invalid_field"), Invalid),
    ],
)
def test_a_refusal_is_never_safe_to_ignore(step, answer, kind):
    error = error_of(step, answer)

    assert (type(error), error.step, error.safe_to_ignore) == (kind, step, False)


@pytest.mark.parametrize(
    ("step", "answer", "meaning"),
    [
        (
            "prepare",
            BUSY,
            "The prepare call failed, which is not safe to ignore: the local transaction must not commit.",
        ),
        ("confirm", BUSY, "The confirm call failed, which is safe to ignore: check-back will settle it."),
        ("cancel", LOST, "The cancel call failed, which is safe to ignore: check-back will settle it."),
        (
            "complete",
            BUSY,
            "The complete call failed, which is safe to ignore: "
            "the message will be delivered, and can be reported, again.",
        ),
        (
            "fail",
            STRANGE,
            "The fail call failed, which is safe to ignore: the message will be delivered, and can be reported, again.",
        ),
        (
            "confirm",
            refused(409, "rolled_back"),
            "The confirm call was refused, which is not safe to ignore: nothing later will settle it.",
        ),
    ],
)
def test_the_message_ends_with_what_the_failure_means(step, answer, meaning):
    assert str(error_of(step, answer)).endswith(f" {meaning}")


@pytest.mark.parametrize("step", ["pull", "recheck", "put_topic"])
def test_the_message_of_another_step_only_says_why(step):
    assert str(error_of(step, BUSY)) == "A sentence. (busy)"


def test_an_item_of_a_batch_says_the_step_too():
    items = [{"id": ID, "error": {"code": code, "detail": "A sentence."}} for code in ("busy", "unknown_message")]
    transport = ScriptedTransport([answered({"results": items})])

    open_still, final = (each.error for each in Client(transport=transport).confirm_batch([ID, ID]))

    assert open_still is not None
    assert final is not None
    assert (open_still.step, open_still.safe_to_ignore) == ("confirm", True)
    assert (final.step, final.safe_to_ignore) == ("confirm", False)


@pytest.mark.parametrize("answer", [LOST, BUSY, STRANGE, refused(409, "rolled_back", message_status="rolled_back")])
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301 - our own
def test_an_error_is_the_same_as_a_copy_and_in_another_process(answer, again):
    error = error_of("confirm", answer)

    other = again(error)

    assert other is not error
    assert (type(other), str(other), other.args, other.__dict__) == (
        type(error),
        str(error),
        error.args,
        error.__dict__,
    )
