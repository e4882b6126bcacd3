"""Check-back as a blueprint of Flask."""

from aftercommit.sdk.checkback.responder import CheckResponder
from aftercommit.sdk.web import BODY_BYTES_MAX

try:
    from flask import Blueprint, Response, request
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The blueprint needs Flask: pip install 'aftercommit[flask]'.", name=error.name
    ) from error


def check_blueprint(responder: CheckResponder, path: str = "/aftercommit/checks") -> Blueprint:
    """A blueprint that answers POST on `path`. Raises TypeError for an awaitable barrier or rule.

    An extension that asks every POST for a CSRF token has to exempt it; the signature is what protects it.

        app = Flask(__name__)
        app.register_blueprint(check_blueprint(responder))
    """
    responder.verdicts.require_blocking("A Flask blueprint")
    blueprint = Blueprint("aftercommit_checks", __name__)

    @blueprint.post(path)
    def answer_checks() -> Response:
        answer = responder.respond_blocking(dict(request.headers), _body())
        return Response(answer.body, answer.status, dict(answer.headers))

    return blueprint


def _body() -> bytes:
    """The body, or as much of it as shows that it is too large."""
    if request.content_length is not None and request.content_length <= BODY_BYTES_MAX:
        # Also where something before this has read it already.
        return request.get_data()
    body: bytes = request.stream.read(BODY_BYTES_MAX + 1)
    return body
