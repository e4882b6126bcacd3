"""The ASGI application: from a request to an answer, whatever the request."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import structlog

from aftercommit import __version__
from aftercommit.api.answers import NO_CONTENT, Answer
from aftercommit.api.auth import Authenticate, without_keys
from aftercommit.api.call import ClientGone, Context, Headers, Receive
from aftercommit.api.docs import docs_page
from aftercommit.api.guard import Guard, guard_loopback
from aftercommit.api.openapi import document
from aftercommit.api.problems import Rejected, caller_error, internal_error, temporarily_unavailable
from aftercommit.api.route import Route
from aftercommit.api.router import Router
from aftercommit.api.routes import ROUTES
from aftercommit.domain.errors import CallerError, TemporarilyUnavailable
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.service import Services

# ASGI's own types are dictionaries of anything.
Scope: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

# Labels of requests that have no route: a path never becomes a label.
NO_ROUTE: Final = "none"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
# What must not be said twice, because two readers of the request might believe different ones.
_SINGLE_HEADERS: Final = (
    b"host",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"authorization",
    b"aftercommit-app",
    b"sec-fetch-site",
    b"origin",
)

_log = structlog.get_logger(__name__)


class Api:
    """Everything under `/v1` and the node's own pages.

    `respond` is the application itself, for the server in this package, which writes answers in one piece. Called as
    ASGI it does the same for every other server and for tests.
    """

    def __init__(
        self,
        context: Context,
        routes: Sequence[Route[Any]],
        *,
        authenticate: Authenticate,
        guard: Guard,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._context = context
        self._router = Router(routes)
        self._authenticate = authenticate
        self._guard = guard
        self._clock = clock
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an ASGI request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise TypeError(f"This application speaks HTTP only, not {scope['type']!r}.")
        answer = await self.respond(scope, receive)
        if answer is None:
            return
        length = (b"content-length", b"%d" % len(answer.body))
        headers = answer.headers if answer.status == NO_CONTENT.status else (*answer.headers, length)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def respond(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer to a request, None if nobody waits for it any more. Raises nothing but cancellation."""
        started = self._clock.monotonic()
        method: str = scope["method"]
        route = NO_ROUTE
        try:
            headers = _headers(scope["headers"])
            self._guard(method, headers)
            place, parameters = self._router.find(_raw_path(scope)) or _nothing_here()
            endpoint = place.endpoints.get(method)
            if endpoint is None:
                route = place.template
                answer = _no_such_method(method, place.allow)
            else:
                route = endpoint.route.path
                answer = await endpoint.answer(
                    self._context,
                    self._authenticate(headers),
                    headers,
                    parameters,
                    scope["query_string"],
                    receive,
                )
        except CallerError as error:
            answer = caller_error(error)
        except TemporarilyUnavailable as error:
            answer = temporarily_unavailable(error)
        except ClientGone:
            self._observer.count("requests_abandoned", 1, route=route)
            return None
        except Exception:
            _log.exception("request_failed", route=route, method=method)
            answer = internal_error()
        if method not in _METHODS:
            method = NO_ROUTE
        self._observer.observe("request_seconds", self._clock.monotonic() - started, route=route, method=method)
        self._observer.count("requests", 1, route=route, method=method, status=str(answer.status))
        return answer


def create_app(
    services: Services,
    *,
    observer: Observer,
    clock: Clock,
    render_metrics: Callable[[], Awaitable[bytes]],
    authenticate: Authenticate = without_keys,
    guard: Guard = guard_loopback,
    name: str = "aftercommit",
    routes: Sequence[Route[Any]] = ROUTES,
) -> Api:
    """The application over these services. `name` is the node's, shown to people."""
    described = document(routes, __version__)
    context = Context(
        services=services,
        render_metrics=render_metrics,
        name=name,
        version=__version__,
        openapi=msgspec.json.format(msgspec.json.encode(described), indent=2),
        docs=docs_page(described),
    )
    return Api(context, routes, authenticate=authenticate, guard=guard, clock=clock, observer=observer)


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> Headers:
    headers = dict(pairs)
    if len(headers) != len(pairs):
        names = [name for name, _ in pairs]
        for name in _SINGLE_HEADERS:
            if names.count(name) > 1:
                raise Rejected("malformed_request", f"The header {name.decode()} stands twice in the request.")
    return headers


def _raw_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw is not None else scope["path"]


def _nothing_here() -> Any:
    raise Rejected("not_found", "There is nothing at this address; /docs lists what there is.")


def _no_such_method(method: str, allow: bytes) -> Answer:
    allowed = (b"allow", allow)
    if method == "OPTIONS":
        return Answer(NO_CONTENT.status, b"", (allowed,))
    raise Rejected("method_not_allowed", f"This address answers to {allow.decode()}.", headers=(allowed,))


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol of other servers: nothing to start or stop here, assembly does that."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
