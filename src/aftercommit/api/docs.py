"""The documentation page: the OpenAPI document for people, as plain HTML."""

import re
from html import escape
from typing import Any, Final

from aftercommit.api.page import page

_CODE: Final = re.compile(r"`([^`]+)`")


def docs_page(document: dict[str, Any]) -> bytes:
    """The page for an OpenAPI document."""
    info = document["info"]
    calls: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            calls.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    schemas = document["components"]["schemas"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_text(info['description'])}</p>",
        '<p>The same for machines: <a href="/openapi.json">openapi.json</a>.</p>',
        _contents(document["tags"], calls),
        *(_chapter(tag, calls.get(tag["name"], [])) for tag in document["tags"]),
        '<h2 id="schemas">Shapes</h2>',
        *(_schema(name, schema) for name, schema in schemas.items()),
    ]
    return page(f"{info['title']} API", "".join(parts))


def _contents(tags: list[dict[str, str]], calls: dict[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    links = [
        f'<a href="#{escape(operation["operationId"])}"><b class="method">{method}</b>{escape(path)}</a>'
        for tag in tags
        for method, path, operation in calls.get(tag["name"], [])
    ]
    return f"<nav>{''.join(links)}</nav>"


def _chapter(tag: dict[str, str], calls: list[tuple[str, str, dict[str, Any]]]) -> str:
    entries = "".join(_call(method, path, operation) for method, path, operation in calls)
    return f"<h2>{escape(tag['name'])}</h2><p>{_text(tag['description'])}</p>{entries}"


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b class="method">{method}</b>'
        f'<code>{escape(path)}</code><span class="what">{escape(operation["summary"])}</span></summary><div>'
        f"<p>{_text(operation['description'])}</p>"
        f"{_parameters(operation['parameters'])}"
        f"{_body(body) if body else ''}"
        f"{_responses(operation['responses'])}</div></details>"
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
        f"<td>{_text(each.get('description', ''))}</td></tr>"
        for each in parameters
        if "name" in each
    ]
    return f"<table><tr><th>Parameter</th><th>In</th><th></th></tr>{''.join(rows)}</table>" if rows else ""


def _body(body: dict[str, Any]) -> str:
    schema = body["content"]["application/json"]["schema"]
    needed = "" if body["required"] else " It may be left out."
    return f"<p>Body: {_type(schema)}.{needed}</p>"


def _responses(responses: dict[str, Any]) -> str:
    rows = []
    for status, response in responses.items():
        shapes = ", ".join(
            f"<code>{escape(media)}</code> {_type(content['schema']) if content else ''}"
            for media, content in response.get("content", {}).items()
        )
        rows.append(f"<tr><td>{status}</td><td>{_text(response['description'])}</td><td>{shapes}</td></tr>")
    return f"<table><tr><th>Status</th><th>Meaning</th><th>Body</th></tr>{''.join(rows)}</table>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"<tr><td><code>{escape(field)}</code></td><td>{_type(shape)}</td>"
        f"<td>{'required' if field in required else ''}</td></tr>"
        for field, shape in schema.get("properties", {}).items()
    ]
    table = f"<table><tr><th>Field</th><th>Type</th><th></th></tr>{''.join(rows)}</table>" if rows else ""
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<div><p>{_text(schema.get('description', ''))}</p>{table}</div></details>"
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object" if "properties" in schema:
            fields = (f"<code>{escape(name)}</code>: {_type(each)}" for name, each in schema["properties"].items())
            return "{" + ", ".join(fields) + "}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"map of {_type(inner)}" if isinstance(inner, dict) and inner else "map"
        case str(kind):
            return escape(kind)
        case _:
            return "any JSON value"


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(" ".join(text.split())))
