"""The OpenAPI 3.1 document, made from the route table and the shapes on the wire."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from aftercommit.api.problems import STATUS_OF_CODE, STATUS_OF_REFUSAL
from aftercommit.api.route import Route, Tag
from aftercommit.wire import BATCH_ITEMS_MAX, Problem

_REF: Final = "#/components/schemas/{name}"
# Codes the services give, where the family of the error decides the status.
_STATUS_OF_SERVICE_CODE: Final = {
    "unknown_app": 404,
    "name_collision": 409,
    "subscription_in_use": 409,
    "topic_in_use": 409,
    "pull_not_available": 409,
    "overloaded": 503,
    "store_unavailable": 503,
}
_SHARED: Final = ("malformed_request", "forbidden_host", "internal_error")
_SHARED_BY_API: Final = ("invalid_app", "unknown_parameter", "store_unavailable")
_SHARED_BY_BODIES: Final = (
    "malformed_json",
    "duplicate_key",
    "cross_site",
    "request_timeout",
    "body_too_large",
    "unsupported_media_type",
    "unsupported_encoding",
    "invalid_field",
    "missing_field",
    "unknown_field",
)
_DESCRIPTION: Final = (
    "A message is delivered if, and only if, the initiator's local transaction committed. Every refusal is a problem"
    " document (RFC 9457) with a stable `code`. Every command may be repeated: what is already done is answered with"
    " the present status and has no second effect. Times are RFC 3339 UTC with milliseconds."
)
_TAGS: Final = {
    Tag.INITIATORS: "Prepare before the local transaction commits, confirm or cancel after it.",
    Tag.CONSUMERS: "Take messages, and report what became of them.",
    Tag.BATCHES: "The same verbs for up to 1,000 items in one call. One bad item spoils no other.",
    Tag.READING: "What there is, and how it is doing.",
    Tag.OPERATING: "What a person may do to a message. Every action is kept in its history.",
    Tag.TOPICS: "Topics and their subscriptions.",
    Tag.APPLICATIONS: "Who takes part, where they are asked, how calls to them are signed.",
    Tag.CHECKS: "For initiators that cannot be called: they fetch the questions and answer them.",
    Tag.NODE: "The node itself.",
}


def document(routes: Sequence[Route[Any]], version: str) -> dict[str, Any]:
    """The whole document as JSON values."""
    shapes = [Problem, *_shapes(routes)]
    references, schemas = msgspec.json.schema_components(shapes, ref_template=_REF)
    schema_of = dict(zip(shapes, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AfterCommit",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag.value, "description": _TAGS[tag]} for tag in Tag],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "parameters": {"App": _APP_PARAMETER},
        },
    }


def status_of_code(code: str) -> int:
    """The HTTP status of a code, also of those only the services know."""
    refusals = {refusal.value: status for refusal, status in STATUS_OF_REFUSAL.items()}
    return {**refusals, **_STATUS_OF_SERVICE_CODE, **STATUS_OF_CODE}.get(code, 422)


def problems_of(route: Route[Any]) -> list[tuple[int, list[str]]]:
    """Every way a call may be refused: codes by status."""
    codes = [*route.problems, *_SHARED]
    codes += _SHARED_BY_API if route.is_api else ()
    codes += _SHARED_BY_BODIES if route.takes_body else ()
    grouped: dict[int, list[str]] = {}
    for code in dict.fromkeys(map(str, codes)):
        grouped.setdefault(_status(route, code), []).append(code)
    return sorted(grouped.items())


def path_parameters(path: str) -> list[str]:
    """The names in braces, in order."""
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]


def operation_id(route: Route[Any]) -> str:
    """A name for client generators: unique, from the method and the path."""
    words = [word.strip("{}").split(".")[0] for word in route.path.removeprefix("/v1").split("/") if word]
    return "_".join([route.method.lower(), *words]) if words else "get_root"


_APP_PARAMETER: Final = {
    "name": "AfterCommit-App",
    "in": "header",
    "required": False,
    "description": "Names the calling application on a node without keys. Left out: `default`, who sees everything.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
}


def _status(route: Route[Any], code: str) -> int:
    # What a body names is a wrong value; what the path names does not exist.
    named_by_path = {"unknown_topic": "{topic}", "unknown_subscription": "{name}"}
    if named_by_path.get(code, "?") in route.path:
        return 404
    return status_of_code(code)


def _shapes(routes: Iterable[Route[Any]]) -> list[type]:
    shapes: dict[type, None] = {}
    for route in routes:
        if route.takes_body:
            shapes[route.items or route.body] = None
        if route.answer is not None:
            shapes[route.answer] = None
    return list(shapes)


def _operation(route: Route[Any], schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [route.tag.value],
        "operationId": operation_id(route),
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "parameters": _parameters(route),
        "responses": _responses(route, schema_of),
    }
    if route.takes_body:
        schema = _batch_schema(schema_of[route.items]) if route.items else schema_of[route.body]
        operation["requestBody"] = {
            "required": _is_required(route),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameters(route: Route[Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in path_parameters(route.path)
    ]
    parameters += [
        {"name": each.name, "in": "query", "description": each.summary, "schema": {"type": each.kind}}
        for each in route.query
    ]
    if route.is_api:
        parameters.append({"$ref": "#/components/parameters/App"})
    return parameters


def _path_schema(name: str) -> dict[str, Any]:
    return {"type": "string", "format": "uuid"} if name == "id" else {"type": "string"}


def _responses(route: Route[Any], schema_of: dict[type, dict[str, Any]]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if route.media_type is not None:
        schema = schema_of[route.answer] if route.answer is not None else {}
        good["content"] = {route.media_type: {"schema": schema} if schema else {}}
    responses: dict[str, Any] = {str(route.status): good}
    if route.created:
        responses["201"] = {**good, "description": "Done: it is new."}
    for status, codes in problems_of(route):
        listed = ", ".join(f"`{code}`" for code in codes)
        responses[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {listed}.",
            "content": {"application/problem+json": {"schema": schema_of[Problem]}},
        }
    return responses


def _batch_schema(item: dict[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "maxItems": BATCH_ITEMS_MAX, "items": item}
    return {"type": "object", "properties": {"items": items}, "required": ["items"], "additionalProperties": False}


def _is_required(route: Route[Any]) -> bool:
    return any(field.required for field in msgspec.structs.fields(route.body))
