"""Every public name has a docstring with an example, and the examples run."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from aftercommit import sdk, testing
from tests.typing.docstrings import Documented, everything_public, example_of, public_names
from tests.typing.scenery import run_example, run_failing

# What users import: names of a module, or all of its `__all__`, or else of what is written in it.
MODULES = {
    "aftercommit.sdk": (),
    "aftercommit.sdk.transactions.binding": ("Binding",),
    "aftercommit.sdk.checkback.asgi": (),
    "aftercommit.sdk.checkback.django": (),
    "aftercommit.sdk.checkback.fastapi": (),
    "aftercommit.sdk.checkback.flask": (),
    "aftercommit.sdk.checkback.pull": ("AsyncPullResponder", "PullResponder"),
    "aftercommit.sdk.checkback.responder": ("CheckResponder",),
    "aftercommit.sdk.checkback.verdicts": ("Answers",),
    "aftercommit.sdk.checkback.wsgi": (),
    "aftercommit.sdk.consumer.faststream": ("InboxMiddleware", "LossySubscriber", "require_safe"),
    "aftercommit.sdk.consumer.handlers": ("NoHandler",),
    "aftercommit.sdk.django": (),
    "aftercommit.sdk.tables": (),
}

PUBLIC = [each for module, names in MODULES.items() for each in public_names(import_module(module), names)]
# Once each, wherever it can be imported from.
EXAMPLES = {
    (each.name, each.example): each
    for module, names in MODULES.items()
    for each in everything_public(import_module(module), names)
    if each.example
}.values()
# The errors of calls and transactions, with what they are made of.
ERRORS: dict[type[sdk.AfterCommitClientError], sdk.AfterCommitClientError] = {
    sdk.AfterCommitClientError: sdk.Unreachable("no answer", perhaps_received=True, repeatable=True).at("confirm"),
    **{
        kind: kind("a_code", "A sentence.", message_status="prepared")
        for kind in (sdk.Refused, sdk.Invalid, sdk.Denied, sdk.NotFound, sdk.Conflict)
    },
    **{
        kind: kind("a_code", "A sentence.", message_status="confirmed")
        for kind in (sdk.RolledBack, sdk.AlreadyConfirmed, sdk.NotDelivered, sdk.IdConflict, sdk.InvalidTransition)
    },
    sdk.Unavailable: sdk.Unavailable("busy", "A sentence.", retry_after_seconds=1.5),
    sdk.Unreachable: sdk.Unreachable("no answer", perhaps_received=True, repeatable=True),
    sdk.Unexpected: sdk.Unexpected("A sentence.", status=200),
    **{
        kind: kind("A sentence.", ["an id"])
        for kind in (
            sdk.TransactionError,
            sdk.NotPrepared,
            sdk.RuledOut,
            sdk.TransactionEnded,
            sdk.CommitUncertain,
        )
    },
}
OF_ERRORS = [each for each in PUBLIC if getattr(sdk, each.name, None) in ERRORS]


@pytest.fixture(scope="module")
def service_url() -> Iterator[str]:
    """A real node for the examples."""
    with testing.server() as node:
        yield node.url


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.where)
def test_a_public_name_says_what_it_is(public: Documented):
    assert public.docstring.strip()


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.where)
def test_a_public_name_has_an_example(public: Documented):
    assert public.example, f"The docstring of {public.where} has no indented example that calls something."


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda each: each.where)
def test_an_example_runs(documented: Documented, service_url: str, tmp_path: Path):
    run_example(documented, service_url, tmp_path)


@pytest.mark.parametrize("documented", OF_ERRORS, ids=lambda each: each.where)
def test_the_example_of_an_error_handles_it(documented: Documented, service_url: str, tmp_path: Path):
    run_failing(documented, ERRORS[getattr(sdk, documented.name)], service_url, folder=tmp_path)


def test_every_error_of_a_call_or_transaction_is_handled_in_its_example():
    public = [thing for name in sdk.__all__ if isinstance(thing := getattr(sdk, name), type)]
    assert set(ERRORS) == {each for each in public if issubclass(each, sdk.AfterCommitClientError)}


@pytest.mark.parametrize(
    ("docstring", "example"),
    [
        ("Say it.", ""),
        ("Say it.\n\n    More of what it says.\n    ", ""),
        ("Say it.\n\n    say(it)\n    ", "say(it)"),
        ("Say it.\n\n    with it as said:\n        say(said)\n    ", "with it as said:\n    say(said)"),
        ("Say it.\n\n    Prose.\n\n        say(it)\n\n        say(more)\n    ", "say(it)\n\nsay(more)"),
        ("Say it.\n\n    - a list\n      that goes on\n    ", ""),
        ("Say it.\n\n        say(it)\n\n    Or else:\n\n        say(that)\n    ", "say(it)\n\n\nsay(that)"),
    ],
)
def test_an_example_is_found_in_a_docstring(docstring: str, example: str):
    assert example_of(docstring).split() == example.split()


@pytest.mark.parametrize(
    ("example", "error"),
    [
        ("client.confirm(nobody_has_this)", NameError),
        ("await client.nonsense()", AttributeError),
        ('@consumer.on("orders.created")\ndef reserve(delivery, tx):\n    nonsense(tx)', AssertionError),
        ('@responder.rule("orders.paid")\ndef paid(check):\n    return nonsense(check)', AssertionError),
    ],
)
def test_an_example_that_is_wrong_fails(example: str, error: type[Exception], service_url: str, tmp_path: Path):
    with pytest.raises(error):
        run_example(Documented("aftercommit.sdk", "", f"Say it.\n\n{example}"), service_url, tmp_path)


def test_an_example_that_does_not_handle_its_error_fails(service_url: str, tmp_path: Path):
    careless = Documented("aftercommit.sdk", "", "Say it.\n\nclient.confirm(message_id)")
    with pytest.raises(sdk.Unreachable):
        run_failing(careless, ERRORS[sdk.Unreachable], service_url, folder=tmp_path)
