"""HTTP push: only what the service signed, and an answer that invents no outcome."""

import io
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any
from wsgiref.validate import validator

import pytest
import uvicorn
from standardwebhooks import Webhook

from aftercommit.sdk.consumer.consumer import AsyncConsumer, Consumer
from aftercommit.sdk.consumer.receipts import Fail, RetryLater
from aftercommit.signatures import BadSecret, new_secret
from tests.sdk.consumer.pulled import TOPIC, AwaitedService, Service
from tests.sdk.transactions.recorder import unreachable

SECRET, OTHER = new_secret(b"s" * 24), new_secret(b"o" * 32)
ID = "01a20845-a5a1-72c7-be83-0cfa850d4999"
BODY = '{"order": 1, "name": "caf\u00e9"}'.encode()

# What is sent, and the status and body of the answer.
Post = Callable[[dict[str, str], bytes], Awaitable[tuple[int, bytes]]]


def signed(
    body: bytes = BODY, secret: str = SECRET, message_id: str = ID, at: datetime | None = None
) -> dict[str, str]:
    """The headers of protocol 6, signed by the scheme's own package."""
    moment = at or datetime.now(UTC)
    return {
        "ce-id": ID,
        "ce-specversion": "1.0",
        "ce-type": TOPIC,
        "ce-source": "orders",
        "aftercommit-id": ID,
        "aftercommit-topic": TOPIC,
        "aftercommit-attempt": "2",
        "aftercommit-key": "caf\u00e9",
        "aftercommit-app": "orders",
        "content-type": "application/json",
        "tenant": "a",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body.decode()),
    }


@pytest.fixture(params=["asgi", "wsgi"])
def way(request: pytest.FixtureRequest) -> str:
    """Both kinds of applications are the same to who pushes."""
    return request.param


@pytest.fixture
def pushed(way, service) -> Callable[..., Post]:
    """How to push to a consumer whose handlers are the given functions by subscription."""

    def make(
        *, topic: str = TOPIC, secrets: Any = (SECRET,), only: str | None = None, **handlers: Callable[[Any], Any]
    ) -> Post:
        options: dict[str, Any] = {"subscription": only, "secrets": secrets, "body_bytes_max": 1000}
        if way == "wsgi":
            consumer = Consumer(service)
            for name, handler in handlers.items():
                consumer.on(topic, name)(handler)
            return wsgi_post(consumer.wsgi(**options))
        awaited = AsyncConsumer(AwaitedService(service))
        for name, handler in handlers.items():
            awaited.on(topic, name)(coroutine(handler))
        return asgi_post(awaited.asgi(**options))

    return make


def coroutine(function: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def handler(delivery: Any) -> Any:
        return function(delivery)

    return handler


def asgi_post(app: Any, method: str = "POST", parts: int = 3) -> Post:
    async def post(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        cut = max(len(body) // parts, 1)
        pieces = [body[start : start + cut] for start in range(0, len(body), cut)] or [b""]
        events = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
            for number, piece in enumerate(pieces)
        ]
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            said.append(event)

        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await app({"type": "http", "method": method, "path": "/", "headers": raw}, receive, send)
        start, ending = said
        assert dict(start["headers"])[b"content-length"] == str(len(ending["body"])).encode()
        return start["status"], ending["body"]

    return post


def wsgi_post(app: Any, method: str = "POST") -> Post:
    async def post(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value.encode().decode(
                "latin-1"
            )
        statuses: list[str] = []

        def start_response(status: str, _headers: Any, _error: Any = None) -> Callable[[bytes], object]:
            statuses.append(status)
            return io.BytesIO().write

        answer: Any = validator(app)(environ, start_response)
        text = b"".join(answer)
        answer.close()
        return int(statuses[0].split()[0]), text

    return post


async def test_a_pushed_message_is_handled_and_reported(pushed, service):
    seen: list[Any] = []
    status, body = await pushed(stock=seen.append)(signed(), BODY)
    assert (status, body) == (200, b'{"receipt":"completed"}')
    assert service.told == [("complete", (ID,))]
    [delivery] = seen
    assert (delivery.id, delivery.topic, delivery.key, delivery.attempt) == (ID, TOPIC, "caf\u00e9", 2)
    assert (delivery.body, delivery.headers, delivery.app) == (BODY, {"tenant": "a"}, "orders")


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        (Fail("no such item"), 422, [("fail", (ID,))]),
        (RetryLater("not now"), 503, []),
    ],
)
async def test_what_is_not_completed_is_not_answered_as_if(pushed, service, said, status, told):
    answer, _body = await pushed(stock=lambda delivery: said)(signed(), BODY)
    assert (answer, service.told) == (status, told)


async def test_a_refusal_nobody_heard_is_not_answered_as_done(pushed, service):
    # The service takes every 2xx for completed: this message would be completed although it was refused.
    service.answers["fail"] = unreachable()
    answer, _body = await pushed(stock=lambda delivery: Fail("no such item"))(signed(), BODY)
    assert answer == 422


async def test_a_bug_in_a_handler_is_no_outcome(pushed, service):
    def broken(delivery):
        raise KeyError("a bug")

    assert (await pushed(stock=broken)(signed(), BODY))[0] == 503
    assert service.told == []


async def test_both_secrets_of_a_rotation_are_good(pushed):
    post = pushed(secrets=[OTHER, SECRET], stock=lambda delivery: None)
    assert (await post(signed(secret=SECRET), BODY))[0] == 200
    assert (await post(signed(secret=OTHER), BODY))[0] == 200


@pytest.mark.parametrize(
    ("headers", "body", "complaint"),
    [
        (signed(secret=OTHER), BODY, b"None of its signatures"),
        (signed(), BODY.replace(b"1", b"2"), b"None of its signatures"),
        (signed(at=datetime(2020, 1, 1, tzinfo=UTC)), BODY, b"more than 300 seconds"),
        ({**signed(), "webhook-signature": "v1,caf\u00e9"}, BODY, b"None of its signatures"),
        ({name: value for name, value in signed().items() if not name.startswith("webhook-")}, BODY, b"not signed"),
        # Headers are not signed: a request seen by somebody must not become another message.
        ({**signed(), "aftercommit-id": "01a20845-a5a1-72c7-be83-0cfa850d4998"}, BODY, b"different messages"),
        (signed(message_id="msg_1"), BODY, b"different messages"),
    ],
)
async def test_what_the_service_did_not_sign_is_not_handled(pushed, service, headers, body, complaint):
    seen: list[Any] = []
    status, answer = await pushed(stock=seen.append)(headers, body)
    assert (status, seen, service.told) == (401, [], [])
    assert complaint in answer


async def test_without_secrets_everybody_may_push_and_a_warning_says_so(pushed, caplog):
    caplog.set_level(logging.WARNING)
    headers = {name: value for name, value in signed().items() if not name.startswith("webhook-")}
    assert (await pushed(secrets=(), stock=lambda delivery: None)(headers, BODY))[0] == 200
    assert "taken from anybody" in caplog.text


def test_secrets_that_are_none_are_found_when_the_program_starts(pushed):
    with pytest.raises(TypeError, match="secrets is a list"):
        pushed(secrets=SECRET)
    with pytest.raises(TypeError, match="is the variable it is read from set"):
        pushed(secrets=[None])
    with pytest.raises(BadSecret):
        pushed(secrets=["hunter2"])


async def test_what_no_handler_takes_is_not_completed(pushed, service, caplog):
    assert (await pushed(topic="orders.cancelled", stock=lambda delivery: None)(signed(), BODY))[0] == 404
    two: dict[str, Any] = {"stock": lambda delivery: None, "billing": lambda delivery: None}
    assert (await pushed(**two)(signed(), BODY))[0] == 404
    assert (await pushed(stock=lambda delivery: None)({**signed(), "aftercommit-for": "billing"}, BODY))[0] == 404
    assert service.told == []
    assert "wrong address" in caplog.text
    assert (await pushed(**two, only="stock")(signed(), BODY))[0] == 200


async def test_what_is_no_message_of_ours_is_refused(pushed, service):
    headers = {name: value for name, value in signed().items() if not name.startswith("aftercommit-")}
    assert (await pushed(stock=lambda delivery: None)(headers, BODY))[0] == 400


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"x" * 1001, 413),
        ({"content-encoding": "gzip"}, b"x", 415),
    ],
)
async def test_a_body_that_is_not_to_be_read_is_refused(way, service, headers, body, status):
    if way == "wsgi":
        post = wsgi_post(Consumer(service).wsgi(secrets=[SECRET], body_bytes_max=1000))
    else:
        post = asgi_post(AsyncConsumer(AwaitedService(service)).asgi(secrets=[SECRET], body_bytes_max=1000))
    assert (await post({**signed(body=b""), **headers}, body))[0] == status


@pytest.mark.parametrize(("length", "status"), [("many", 400), ("9" * 5000, 413)])
async def test_a_length_that_is_none_is_refused(service, length, status):
    # A WSGI server hands over no such length.
    post = asgi_post(AsyncConsumer(AwaitedService(service)).asgi(secrets=[SECRET]))
    assert (await post({**signed(), "content-length": length}, BODY))[0] == status


async def test_only_post_is_answered(way, service):
    if way == "wsgi":
        post = wsgi_post(Consumer(service).wsgi(secrets=[SECRET]), method="GET")
    else:
        post = asgi_post(AsyncConsumer(AwaitedService(service)).asgi(secrets=[SECRET]), method="GET")
    assert (await post(signed(), b""))[0] == 405


async def test_who_goes_away_in_the_middle_of_the_body_gets_no_answer(service):
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        said.append(event)

    app = AsyncConsumer(AwaitedService(service)).asgi(secrets=[SECRET])
    await app({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    assert said == []
    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert said == [{"type": "websocket.close", "code": 1003}]


def test_a_body_shorter_than_its_length_is_not_taken_for_whole(service):
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "10", "wsgi.input": io.BytesIO(b"short")}
    statuses: list[str] = []
    Consumer(service).wsgi(secrets=[SECRET])(environ, lambda status, headers: statuses.append(status))
    assert statuses == ["400 Bad Request"]


def test_a_body_without_a_length_is_read_where_the_server_marks_its_end(service):
    seen: list[Any] = []
    consumer = Consumer(service)
    consumer.on(TOPIC)(seen.append)
    names = {
        f"HTTP_{name.upper().replace('-', '_')}": value.encode().decode("latin-1") for name, value in signed().items()
    }
    environ = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(BODY), "wsgi.input_terminated": True, **names}
    statuses: list[str] = []
    consumer.wsgi(secrets=[SECRET])(environ, lambda status, headers: statuses.append(status))
    assert statuses == ["200 OK"]
    assert seen[0].body == BODY


@contextmanager
def served(app: Any) -> Iterator[HTTPConnection]:
    """A connection to the application under a real server, on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with closing(HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=10)) as connection:
            yield connection
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def test_a_real_server_carries_it(service: Service):
    seen: list[Any] = []
    consumer = AsyncConsumer(AwaitedService(service))
    consumer.on(TOPIC, "stock")(coroutine(seen.append))
    with served(consumer.asgi(secrets=[SECRET])) as connection:
        headers = {name: value.encode() for name, value in signed().items()}
        connection.request("POST", "/", BODY, headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"receipt":"completed"}')
        connection.request("POST", "/", BODY, {**headers, "webhook-timestamp": str(int(time.time()) - 3600)})
        refusal = connection.getresponse()
        assert (refusal.status, refusal.getheader("content-type")) == (401, "application/problem+json")
        refusal.read()
    assert service.told == [("complete", (ID,))]
    assert (seen[0].key, seen[0].headers) == ("caf\u00e9", {"tenant": "a"})
