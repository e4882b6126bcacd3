"""Check-back as a WSGI application of its own, to be mounted anywhere."""

from collections.abc import Callable, Iterable
from typing import Any

from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import WebAnswer, WebRequest, wsgi_app


class CheckWsgiApp:
    """Answers POST on every path below its mount point, in the server's own thread.

    Raises TypeError if the responder's barrier or one of its rules is awaitable.

        app = DispatcherMiddleware(app, {"/aftercommit/checks": CheckWsgiApp(responder)})
    """

    def __init__(self, responder: CheckResponder) -> None:
        responder.verdicts.require_blocking("A WSGI application")

        def respond(request: WebRequest) -> WebAnswer:
            return responder.respond_blocking(request.headers, request.body)

        self._app = wsgi_app(respond)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One WSGI request."""
        return self._app(environ, start_response)
