"""Check-back mounted for real: ASGI and FastAPI under uvicorn, WSGI under wsgiref, Flask and Django their own way."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, TypeAlias
from wsgiref.validate import validator

import django
import pytest
from django.conf import settings
from django.db import connections
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory
from fastapi import FastAPI
from flask import Flask, request

from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.checkback.asgi import CheckApp
from aftercommit.sdk.checkback.django import check_view
from aftercommit.sdk.checkback.fastapi import check_router
from aftercommit.sdk.checkback.flask import check_blueprint
from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.checkback.wsgi import CheckWsgiApp
from aftercommit.sdk.web import BODY_BYTES_MAX
from tests.sdk.checkback.asking import NEWER, ONE, OTHER, SECRET, TWO, Awaited, Known, call, check, read, signed
from tests.sdk.checkback.serving import uvicorned, wsgiref_served

PATH = "/aftercommit/checks"
BODY = call(check(ONE), check(TWO))

Post: TypeAlias = Callable[..., tuple[int, Mapping[str, str], bytes]]


def _over(port: int, *, reads_all: bool = False) -> Post:
    """`reads_all`: whether a body that is too large is read, instead of refused by its announced length."""

    def post(body: bytes, headers: Mapping[str, str], method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        if len(body) > BODY_BYTES_MAX and not reads_all:
            # The server hangs up on what it does not read, and who still sends may never see the answer.
            headers, body = {**headers, "Content-Length": str(len(body))}, b""
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request(method, PATH, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    return post


def _asgi(responder: CheckResponder) -> Iterator[Post]:
    with uvicorned(CheckApp(responder)) as port:
        yield _over(port)


def _fastapi(responder: CheckResponder) -> Iterator[Post]:
    app = FastAPI()
    app.include_router(check_router(responder))
    assert PATH not in app.openapi()["paths"]
    with uvicorned(app) as port:
        yield _over(port, reads_all=True)


def _wsgi(responder: CheckResponder) -> Iterator[Post]:
    with wsgiref_served(validator(CheckWsgiApp(responder))) as port:
        yield _over(port)


def _flask(responder: CheckResponder) -> Iterator[Post]:
    app = Flask(__name__)
    app.register_blueprint(check_blueprint(responder))
    client = app.test_client()

    def post(body: bytes, headers: Mapping[str, str], method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        answer = client.open(PATH, method=method, data=body, headers=dict(headers))
        return answer.status_code, dict(answer.headers), answer.data

    yield post


def _django(responder: CheckResponder) -> Iterator[Post]:
    view = check_view(responder)

    def post(body: bytes, headers: Mapping[str, str], method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        media_type = headers.get("Content-Type", "")
        answer = view(_request(RequestFactory(), body, headers, method, media_type))
        return answer.status_code, dict(answer.headers), answer.content

    yield post


def _async_django(responder: CheckResponder) -> Iterator[Post]:
    responder.rule("awaited")(_never)
    view = check_view(responder)
    assert asyncio.iscoroutinefunction(view)

    def post(body: bytes, headers: Mapping[str, str], method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        media_type = headers.get("Content-Type", "")
        answer = asyncio.run(view(_request(AsyncRequestFactory(), body, headers, method, media_type)))
        return answer.status_code, dict(answer.headers), answer.content

    yield post


async def _never(_check: Any) -> None:
    return None


def _request(factory: Any, body: bytes, headers: Mapping[str, str], method: str, media_type: str) -> HttpRequest:
    others = {name: value for name, value in headers.items() if name != "Content-Type"}
    made: HttpRequest = factory.generic(method, PATH, body, content_type=media_type, headers=others)
    return made


WAYS = {
    "asgi": _asgi,
    "fastapi": _fastapi,
    "wsgi": _wsgi,
    "flask": _flask,
    "django": _django,
    "async django": _async_django,
}


@pytest.fixture(scope="module", autouse=True)
def _django_is_configured() -> None:
    """Requests of Django need settings; another test may have made them."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        )
        django.setup()


@pytest.fixture(scope="module")
def known() -> Known:
    """What the barrier behind every mounted responder knows."""
    return Known({ONE: Outcome.COMMITTED})


@pytest.fixture(scope="module", params=list(WAYS))
def post(request: pytest.FixtureRequest, known: Known) -> Iterator[Post]:
    """How to send a request to a responder that is mounted in one of the ways."""
    yield from WAYS[request.param](CheckResponder(known, secrets=[SECRET, NEWER]))


@pytest.mark.parametrize("secrets", [[SECRET], [NEWER], [SECRET, NEWER]], ids=["older", "newer", "both"])
def test_a_signed_call_is_answered_signed_with_both_secrets(post: Post, secrets: list[str]) -> None:
    status, headers, body = post(BODY, signed(BODY, *secrets))
    assert status == 200, body
    assert read(body, headers, SECRET, NEWER) == {ONE: "committed", TWO: "unknown"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (BODY, {"Content-Type": "application/json"}, 401),
        (BODY, signed(BODY, OTHER), 401),
        (b"{}", signed(b"{}"), 400),
        (BODY, {**signed(BODY), "Content-Type": "text/html"}, 415),
        (BODY, {**signed(BODY), "Content-Encoding": "gzip"}, 415),
        (b"x" * (BODY_BYTES_MAX + 1), {"Content-Type": "application/json"}, 413),
    ],
    ids=["unsigned", "another secret", "another call", "another media type", "compressed", "too large"],
)
def test_every_refusal_comes_out(post: Post, known: Known, body: bytes, headers: dict[str, str], status: int) -> None:
    asked = len(known.asked)
    assert post(body, headers)[0] == status
    assert len(known.asked) == asked


def test_only_post_is_answered(post: Post) -> None:
    assert post(b"", {"Content-Type": "application/json"}, method="GET")[0] == 405


@pytest.mark.parametrize(
    ("mount", "who"), [(CheckWsgiApp, "A WSGI application"), (check_blueprint, "A Flask blueprint")]
)
def test_where_nothing_is_awaited_an_awaitable_barrier_is_refused_at_once(
    mount: Callable[[CheckResponder], Any], who: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{who} cannot await Awaited\.check: use a blocking one"):
        mount(CheckResponder(Awaited(Known({})), secrets=[SECRET]))
    with pytest.raises(TypeError, match=f"{who} cannot await _never"):
        mount(CheckResponder(secrets=[SECRET], rules={"orders.paid": _never}))
    responder = CheckResponder(secrets=[SECRET])
    mount(responder)
    with pytest.raises(TypeError, match=f"{who} cannot await _never"):
        responder.rule("orders.paid")(_never)


def test_the_view_of_django_is_exempt_from_tokens_and_from_transactions_of_every_database() -> None:
    for barrier in (Known({}), Awaited(Known({}))):
        view: Any = check_view(CheckResponder(barrier, secrets=[SECRET]))
        assert view.csrf_exempt
        assert view._non_atomic_requests == set(connections)


def test_a_body_that_something_of_flasks_has_read_before_is_not_lost(known: Known) -> None:
    app = Flask(__name__)
    app.before_request(lambda: request.get_data() and None)
    app.register_blueprint(check_blueprint(CheckResponder(known, secrets=[SECRET])))
    answer = app.test_client().post(PATH, data=BODY, headers=signed(BODY))
    assert read(answer.data, dict(answer.headers)) == {ONE: "committed", TWO: "unknown"}


def test_a_body_that_something_of_djangos_has_read_before_is_not_lost(known: Known) -> None:
    view = check_view(CheckResponder(known, secrets=[SECRET]))
    made = _request(RequestFactory(), BODY, signed(BODY), "POST", "application/json")
    assert made.body == BODY
    answer = view(made)
    assert read(answer.content, answer.headers) == {ONE: "committed", TWO: "unknown"}


@pytest.mark.parametrize("kind", ["asgi", "fastapi"])
async def test_who_goes_away_in_the_middle_of_the_body_is_no_error_and_asks_nothing(kind: str) -> None:
    known = Known({})
    responder = CheckResponder(known, secrets=[SECRET])
    app: Any = CheckApp(responder)
    if kind == "fastapi":
        app = FastAPI()
        app.include_router(check_router(responder))
    events: list[dict[str, Any]] = [
        {"type": "http.request", "body": BODY[:10], "more_body": True},
        {"type": "http.disconnect"},
    ]
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(event: Any) -> None:
        said.append(event)

    headers = [(name.lower().encode(), value.encode()) for name, value in signed(BODY).items()]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": headers}
    await app(scope, receive, send)

    assert known.asked == []
    assert [each["status"] for each in said if "status" in each] == ([400] if kind == "fastapi" else [])


def test_who_goes_away_while_django_reads_is_no_error_and_asks_nothing() -> None:
    class Gone:
        def read(self, *_size: int) -> bytes:
            raise ConnectionResetError("gone")

        readline = read

    known = Known({})
    view = check_view(CheckResponder(known, secrets=[SECRET]))
    made = RequestFactory().generic("POST", PATH, BODY, headers=signed(BODY), **{"wsgi.input": Gone()})
    assert (view(made).status_code, known.asked) == (400, [])


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_a_missing_framework_is_one_sentence_with_its_remedy(framework: str) -> None:
    program = f"""
        import sys
        sys.modules[{framework!r}] = None
        sys.modules["asgiref"] = None
        import aftercommit.sdk.checkback.asgi, aftercommit.sdk.checkback.wsgi
        try:
            import aftercommit.sdk.checkback.{framework}
        except ModuleNotFoundError as error:
            print(error)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.endswith(f": pip install 'aftercommit[{framework}]'.\n")
    assert len(said.stdout.splitlines()) == 1
