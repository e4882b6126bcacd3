"""A route at work: judges a request, reads its body, calls the handler."""

import re
from collections.abc import Mapping
from typing import Final, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

from aftercommit.api.answers import Answer
from aftercommit.api.call import DISCONNECT, Call, ClientGone, Context, Headers, Receive
from aftercommit.api.problems import Rejected
from aftercommit.api.route import BATCH_BODY_MAX, NO_BODY, Route
from aftercommit.api.strict_json import DEPTH_MAX, Reader
from aftercommit.domain.errors import Invalid
from aftercommit.service.caller import Caller

Body = TypeVar("Body")

QUERY_FIELDS_MAX: Final = 32
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_JSON_TYPE: Final = b"application/json"
_CHARSETS: Final = frozenset({b"", b"charset=utf-8", b'charset="utf-8"'})


class Endpoint(Generic[Body]):
    """One route, with everything prepared that does not depend on the request."""

    def __init__(self, route: Route[Body]) -> None:
        self.route = route
        self._handler = route.handler
        self._precheck = route.precheck
        self._body_max = route.body_max
        self._takes_body = route.takes_body
        self._depth_max = None if route.body_max == BATCH_BODY_MAX else DEPTH_MAX
        self._query = {parameter.name for parameter in route.query}
        self._reader = Reader(route.body)
        self._empty = _empty(route.body)

    async def answer(
        self, context: Context, caller: Caller, headers: Headers, path: tuple[str, ...], query: bytes, receive: Receive
    ) -> Answer:
        """The handler's answer. Raises what refuses the request."""
        body = self._read(await self._receive_body(headers, receive)) if self._takes_body else cast(Body, NO_BODY)
        call = Call(
            caller=caller,
            path=path,
            query=self._read_query(query) if query else {},
            headers=headers,
            body=body,
            receive=receive,
        )
        return await self._handler(context, call)

    async def _receive_body(self, headers: Headers, receive: Receive) -> bytes:
        length = headers.get(b"content-length")
        if length is not None or b"transfer-encoding" in headers:
            self._require_acceptable(headers, length)
        message = await receive()
        if message["type"] == DISCONNECT:
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > self._body_max:
                raise self._too_large()
            return body
        return await self._receive_rest(body, receive)

    async def _receive_rest(self, first: bytes, receive: Receive) -> bytes:
        parts = [first]
        size = len(first)
        while size <= self._body_max:
            message = await receive()
            if message["type"] == DISCONNECT:
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if not message.get("more_body") and size <= self._body_max:
                return b"".join(parts)
        raise self._too_large()

    def _require_acceptable(self, headers: Headers, length: bytes | None) -> None:
        """Judge a body by what is said about it, before any of it is read."""
        if length == b"0":
            return
        if length is not None:
            if not length.isdigit():
                raise Rejected("malformed_request", "Content-Length is not a number.")
            if len(length) > 15 or int(length) > self._body_max:
                raise self._too_large()
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            detail = "Send the body as it is: compressed bodies are not read."
            raise Rejected("unsupported_encoding", detail, headers=((b"accept-encoding", b"identity"),))
        media_type = headers.get(b"content-type")
        if media_type != _JSON_TYPE and not _is_json(media_type):
            detail = "Send the body as Content-Type: application/json, in UTF-8."
            raise Rejected("unsupported_media_type", detail, headers=((b"accept", _JSON_TYPE),))

    def _too_large(self) -> Rejected:
        return Rejected("body_too_large", f"The body of this request may hold at most {self._body_max} bytes.")

    def _read(self, body: bytes) -> Body:
        if body:
            if self._precheck is not None:
                self._precheck(body)
            return self._reader.read(body, depth_max=self._depth_max)
        if self._empty is None:
            raise Rejected("malformed_json", "The body is empty; this request needs a JSON object.")
        return self._empty

    def _read_query(self, query: bytes) -> Mapping[str, str]:
        try:
            fields = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
            )
        except ValueError:
            raise Rejected("malformed_request", "The query string is not well-formed UTF-8 form data.") from None
        read: dict[str, str] = {}
        for name, value in fields:
            pointer = "/" + name[:80].replace("~", "~0").replace("/", "~1")
            if name not in self._query:
                raise Invalid("unknown_parameter", f"There is no query parameter {name[:80]!r}.", pointer)
            if name in read:
                raise Invalid("invalid_parameter", f"The query parameter {name} stands twice.", pointer)
            if _CONTROL.search(value):
                raise Invalid("invalid_parameter", f"The query parameter {name} holds control characters.", pointer)
            read[name] = value
        return read


def _is_json(media_type: bytes | None) -> bool:
    if media_type is None:
        return False
    name, _, parameters = media_type.partition(b";")
    return name.strip().lower() == _JSON_TYPE and parameters.strip().lower() in _CHARSETS


def _empty(shape: type[Body]) -> Body | None:
    """What an empty body means: `{}`, where every field may be left out."""
    try:
        return msgspec.json.decode(b"{}", type=shape)
    except msgspec.ValidationError:
        return None
