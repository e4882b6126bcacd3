"""Check-back as a router of FastAPI."""

from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import BODY_BYTES_MAX

try:
    from fastapi import APIRouter, Request, Response
    from starlette.requests import ClientDisconnect
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The router needs FastAPI: pip install 'aftercommit[fastapi]'.", name=error.name
    ) from error


def check_router(responder: CheckResponder, path: str = "/aftercommit/checks") -> APIRouter:
    """A router that answers POST on `path`, and is left out of the OpenAPI schema. What blocks runs in a thread.

    app = FastAPI()
    app.include_router(check_router(responder))
    """
    router = APIRouter()

    @router.post(path, include_in_schema=False)
    async def answer_checks(request: Request) -> Response:
        try:
            body = await _body(request)
        except ClientDisconnect:
            # Nobody is left to hear this; for the server it is no error of the application.
            return Response(status_code=400)
        answer = await responder.respond(request.headers, body)
        return Response(answer.body, answer.status, dict(answer.headers))

    return router


async def _body(request: Request) -> bytes:
    """The body, or as much of it as shows that it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            break
    return b"".join(parts)
