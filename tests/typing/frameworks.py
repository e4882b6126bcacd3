"""The names that only some examples use: of web frameworks, of FastStream, of Alembic and of Django."""

import json
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import django
from alembic.migration import MigrationContext
from alembic.operations import Operations
from django.conf import settings
from django.db import connection, transaction
from django.urls import path
from fastapi import FastAPI
from faststream import AckPolicy, FastStream
from faststream.rabbit import RabbitBroker, RabbitQueue
from flask import Flask
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.routing import Mount
from werkzeug.datastructures import Headers
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request as WerkzeugRequest

from aftercommit import sdk, testing
from aftercommit.sdk import tables
from aftercommit.sdk.consumer.faststream import InboxMiddleware, Tx, require_safe
from aftercommit.signatures import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

Names = dict[str, Any]


class _OrderPayload(BaseModel):
    number: int


def particular_names(name: str, names: Names) -> Names:
    """What the example of `name` (`CheckApp`, `Consumer.on`) uses besides the names of the world."""
    make = _MAKERS.get(name)
    return {} if make is None else make(names)


def signed_call(secret: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a check-back call."""
    check = {"id": sdk.new_id(), "topic": "orders.paid", "key": "42", "hint": None, "check": 1}
    body = json.dumps({"type": "aftercommit.check", "checks": [check | {"prepared_at": "2026-01-01T00:00:00Z"}]})
    now = int(time.time())
    return {
        "content-type": "application/json",
        ID_HEADER: "call",
        TIMESTAMP_HEADER: str(now),
        SIGNATURE_HEADER: sign([secret], "call", now, body.encode()),
    }, body.encode()


def _environment(names: Names) -> Names:
    # Nothing of the process itself is changed.
    return {"os": SimpleNamespace(environ={**os.environ, "AFTERCOMMIT_SECRET": names["secret"]})}


def _asgi(names: Names) -> Names:
    return {"app": Starlette(), "Mount": Mount, "Starlette": Starlette, "FastAPI": FastAPI} | _environment(names)


def _wsgi(_names: Names) -> Names:
    return {"app": Flask(__name__), "DispatcherMiddleware": DispatcherMiddleware, "Flask": Flask}


def _asgi_request(names: Names) -> Names:
    headers, body = signed_call(names["secret"])

    async def receive() -> Names:
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"request": StarletteRequest({"type": "http", "method": "POST", "headers": raw}, receive)}


def _wsgi_request(names: Names) -> Names:
    headers, body = signed_call(names["secret"])
    return {
        "request": WerkzeugRequest(EnvironBuilder(method="POST", headers=Headers(headers), data=body).get_environ())
    }


def _handled(names: Names) -> Names:
    names["consumer"].on("orders.created", "stock")(lambda _delivery, _tx: None)
    return {}


def _own_rule(names: Names) -> Names:
    """A responder without a barrier, so that every outcome is the rule's."""
    return {"responder": sdk.CheckResponder(secrets=[names["secret"]])}


def _faststream(_names: Names) -> Names:
    return {"AckPolicy": AckPolicy, "RabbitBroker": RabbitBroker, "RabbitQueue": RabbitQueue, "url": "amqp://"} | {
        "InboxMiddleware": InboxMiddleware,
        "Order": _OrderPayload,
        "Tx": Tx,
    }


def _subscribers(_names: Names) -> Names:
    broker = RabbitBroker(ack_policy=AckPolicy.NACK_ON_ERROR)

    @broker.subscriber("stock")
    async def reserve(_body: Any) -> None:
        """Reserve."""

    return {"app": FastStream(broker), "broker": broker, "require_safe": require_safe, "sys": sys}


def _own_metadata(_names: Names) -> Names:
    return {"Base": type("Base", (DeclarativeBase,), {})}


def _alembic(names: Names) -> Names:
    engine = create_engine("sqlite://")
    names["closing"].callback(engine.dispose)
    return {"op": Operations(MigrationContext.configure(names["closing"].enter_context(engine.connect())))}


def _alembic_later(names: Names) -> Names:
    made = _alembic(names)
    tables.create_tables(made["op"])
    return made


def _django(_names: Names) -> Names:
    """Django is configured once for all tests of a process; whoever comes first does it like this."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        )
        django.setup()
    return {"path": path, "transaction": transaction, "order": SimpleNamespace(pk=42, save=lambda: None)}


def _django_with_tables(names: Names) -> Names:
    made = _django(names)
    # A database in memory, gone with its connection.
    names["closing"].callback(connection.close)
    with connection.cursor() as cursor:
        for statement in tables.ddl("sqlite", inbox=False, outbox=False):
            cursor.execute(statement)
    return made


_MAKERS: Final[dict[str, Callable[[Names], Names]]] = {
    "Answers": _own_rule,
    "AsyncConsumer.asgi": _environment,
    "AsyncPullResponder.run_once": lambda names: {
        "responder": sdk.AsyncPullResponder(names["client"], sdk.AsyncBarrier(names["engine"]), app="orders")
    },
    "CheckApp": _asgi,
    "CheckResponder": _asgi,
    "CheckResponder.check": lambda names: {"service": names["closing"].enter_context(testing.InMemoryService())},
    "CheckResponder.respond": _asgi_request,
    "CheckResponder.respond_blocking": _wsgi_request,
    "CheckResponder.rule": _own_rule,
    "CheckWsgiApp": _wsgi,
    "Consumer.receive": _handled,
    "Consumer.wsgi": _environment,
    "InboxMiddleware": _faststream,
    "LossySubscriber": _subscribers,
    "NoHandler": _handled,
    "Outcome": _own_rule,
    "PullResponder.run_once": lambda names: {
        "responder": sdk.PullResponder(names["client"], sdk.Barrier(names["engine"]), app="orders")
    },
    "check_blueprint": _wsgi,
    "check_router": _asgi,
    "check_view": _django,
    "create_tables": _alembic,
    "declare": _own_metadata,
    "drop_tables": _alembic_later,
    "publish": _django_with_tables,
    "require_safe": _subscribers,
}
