"""Check-back as a view of Django."""

from collections.abc import Callable
from typing import Any

from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import BODY_BYTES_MAX, WebAnswer

try:
    from asgiref.sync import markcoroutinefunction
    from django.db import connections
    from django.db.transaction import non_atomic_requests
    from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
    from django.views.decorators.csrf import csrf_exempt
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("The view needs Django: pip install 'aftercommit[django]'.", name=error.name) from error


def check_view(responder: CheckResponder) -> Callable[..., Any]:
    """A view that answers POST; an asynchronous one if the responder's barrier or a rule is awaitable.

    It is exempt from CSRF tokens, for the caller signs, and from ATOMIC_REQUESTS of every database: the barrier
    commits what it rules out before it answers. Rules are registered before this is called.

        urlpatterns = [path("aftercommit/checks", check_view(responder))]
    """
    if responder.verdicts.blocking:
        responder.verdicts.require_blocking("A blocking Django view")
        return _exempt(_blocking_view(responder))
    # Django before 5.0 does not see that the exempted one is still asynchronous.
    view: Callable[..., Any] = markcoroutinefunction(_exempt(_async_view(responder)))
    return view


def _blocking_view(responder: CheckResponder) -> Callable[..., HttpResponse]:
    def answer_checks(request: HttpRequest) -> HttpResponse:
        body = _body(request)
        if isinstance(body, HttpResponse):
            return body
        return _response(responder.respond_blocking(request.headers, body))

    return answer_checks


def _async_view(responder: CheckResponder) -> Callable[..., Any]:
    async def answer_checks(request: HttpRequest) -> HttpResponse:
        body = _body(request)
        if isinstance(body, HttpResponse):
            return body
        return _response(await responder.respond(request.headers, body))

    return answer_checks


def _body(request: HttpRequest) -> bytes | HttpResponse:
    """The body, or as much of it as shows that it is too large; an answer where there is none to be read."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        body: bytes = request.read(BODY_BYTES_MAX + 1)
    except UnreadablePostError:
        # Who asked went away; nobody is left to hear this.
        return HttpResponse(status=400)
    return body


def _exempt(view: Callable[..., Any]) -> Callable[..., Any]:
    exempted: Callable[..., Any] = csrf_exempt(view)
    for alias in connections:
        exempted = non_atomic_requests(using=alias)(exempted)
    return exempted


def _response(answer: WebAnswer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
