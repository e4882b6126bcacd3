"""Check-back as an ASGI application of its own, to be mounted anywhere."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import WebAnswer, WebRequest, asgi_app


class CheckApp:
    """Answers POST on every path below its mount point. A blocking barrier or rule runs in a thread.

    app = Starlette(routes=[Mount("/aftercommit/checks", CheckApp(responder))])
    """

    def __init__(self, responder: CheckResponder) -> None:
        async def respond(request: WebRequest) -> WebAnswer:
            return await responder.respond(request.headers, request.body)

        self._app = asgi_app(respond)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """One ASGI connection."""
        await self._app(scope, receive, send)
