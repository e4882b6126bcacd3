"""The node itself: probes, metrics, documentation and the landing page."""

from html import escape
from typing import Any, Final

from aftercommit.api.answers import TEXT_HEADERS, Answer, html_answer, json_answer, text_answer
from aftercommit.api.call import Call, Context
from aftercommit.api.page import STYLE_HASH, page
from aftercommit.api.problems import problem
from aftercommit.api.route import NoBody, Parameter, Route, Tag

_METRICS_HEADERS: Final = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), *TEXT_HEADERS[1:])


async def live(context: Context, call: Call[NoBody]) -> Answer:
    """The process runs and answers. Says nothing about what stands behind it."""
    return text_answer("live\n")


async def ready(context: Context, call: Call[NoBody]) -> Answer:
    """Whether the node can do its work: 200, or 503. With `verbose`, the state of every part."""
    verbose = "verbose" in call.query
    is_ready, report = await context.services.readiness.report(nodes=verbose)
    if verbose:
        return json_answer(report, 200 if is_ready else 503)
    if is_ready:
        return text_answer("ready\n")
    detail = "The node cannot do its work now; /readyz?verbose says what stands in the way."
    return problem(503, "not_ready", detail, headers=((b"retry-after", b"1"),))


async def metrics(context: Context, call: Call[NoBody]) -> Answer:
    """Numbers for Prometheus."""
    return Answer(200, await context.render_metrics(), _METRICS_HEADERS)


async def openapi(context: Context, call: Call[NoBody]) -> Answer:
    """This API as an OpenAPI 3.1 document."""
    return Answer(200, context.openapi)


async def docs(context: Context, call: Call[NoBody]) -> Answer:
    """This API for people."""
    return html_answer(context.docs, STYLE_HASH)


async def landing(context: Context, call: Call[NoBody]) -> Answer:
    """Where a person who opens the node's address lands."""
    content = (
        f"<h1>AfterCommit</h1><p>Node <b>{escape(context.name)}</b>, version {escape(context.version)}. A message is"
        " delivered if, and only if, the local transaction committed.</p>"
        '<ul><li><a href="/docs">The HTTP API</a>, also as <a href="/openapi.json">OpenAPI</a></li>'
        '<li><a href="/readyz?verbose">Is the node ready?</a></li><li><a href="/metrics">Metrics</a></li></ul>'
    )
    return html_answer(page("AfterCommit", content), STYLE_HASH)


def _page(path: str, summary: str, handler: Any, media_type: str, *query: Parameter) -> Route[Any]:
    return Route(
        method="GET",
        path=path,
        summary=summary,
        tag=Tag.NODE,
        handler=handler,
        body=NoBody,
        media_type=media_type,
        query=query,
        problems=("not_ready",) if path == "/readyz" else (),
    )


ROUTES: Final[tuple[Route[Any], ...]] = (
    _page("/livez", "Is the process alive?", live, "text/plain"),
    _page("/readyz", "Can the node do its work?", ready, "text/plain", Parameter("verbose", "Report on every part.")),
    _page("/metrics", "Metrics for Prometheus", metrics, "text/plain"),
    _page("/openapi.json", "This document", openapi, "application/json"),
    _page("/docs", "The documentation", docs, "text/html"),
    _page("/", "The landing page", landing, "text/html"),
)
