"""Reading JSON strictly: what is malformed is told apart from what is wrong, and the field at fault is pointed at."""

import json
import re
from typing import Final, Generic, TypeVar

import msgspec

from aftercommit.api.problems import Rejected
from aftercommit.domain.errors import Invalid

Shape = TypeVar("Shape")

# How deep a body may nest where it carries no payload; a payload of 32 lies one deeper in its request.
DEPTH_MAX: Final = 33
NAME_SHOWN_MAX: Final = 200
_WHERE: Final = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_NAMED_FIELD: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY_VALUE: Final = msgspec.json.Decoder(msgspec.Raw)


class Reader(Generic[Shape]):
    """Decodes one kind of request. Made once per route: everything that can be prepared is."""

    def __init__(self, shape: type[Shape]) -> None:
        self._decoder: msgspec.json.Decoder[Shape] = msgspec.json.Decoder(shape)
        self._deep_pointer = "/payload" if "payload" in shape.__struct_fields__ else ""  # type: ignore[attr-defined]
        self._quoted_names = [b'"%b"' % name.encode() for name in shape.__struct_encode_fields__]  # type: ignore[attr-defined]

    def read(self, body: bytes, *, depth_max: int | None = DEPTH_MAX) -> Shape:
        """The request in `body`. Raises `Rejected` (400) for what is not JSON, `Invalid` (422) for what is wrong.

        `depth_max` None: the parts are looked at one by one later.
        """
        # msgspec skips over what it keeps raw without looking at its UTF-8.
        if not body.isascii():
            require_utf8(body)
        try:
            shape = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            require_well_formed(body)
            raise wrong_field(str(error), body) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed(error) from None
        if depth_max is not None and body.count(b"[") + body.count(b"{") > depth_max:
            require_shallow(body, depth_max, self._deep_pointer)
        self._require_single_keys(body)
        if getattr(shape, "headers", None):
            require_single_headers(body)
        return shape

    def _require_single_keys(self, body: bytes) -> None:
        # A repeated key silently hides what came before it. Most bodies hold each name once, so counting settles it.
        # (A plain loop: a generator would cost as much as the counting.)
        is_suspicious = b"\\u" in body
        for name in self._quoted_names:
            if body.count(name) > 1:
                is_suspicious = True
        if is_suspicious:
            require_single_keys(body, self._quoted_names)


def require_utf8(body: bytes) -> None:
    """Refuse bytes that are not UTF-8 (surrogates and overlong forms included)."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Rejected("malformed_json", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None


def require_well_formed(body: bytes) -> None:
    """Refuse what is not one JSON value. What is both malformed and wrong is malformed."""
    try:
        _ANY_VALUE.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed(error) from None


def require_shallow(body: bytes, depth_max: int, pointer: str) -> None:
    """Refuse well-formed JSON that nests deeper than `depth_max`. `pointer`: what is to blame."""
    brackets = _STRING.sub(b"", body).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(depth_max):
        if not brackets:
            return
        # One pass takes exactly the innermost level away.
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise Invalid("payload_too_deep", f"The body nests deeper than {depth_max} levels.", pointer)


def require_single_keys(body: bytes, quoted_names: list[bytes]) -> None:
    """Refuse a request object in which a key stands twice. `body` is well-formed, with no keys but `quoted_names`.

    Whatever stands in the body but in none of the values kept is a key: once is right, twice is a repeated one, whose
    first value is gone. Keys may be spelled with escapes; those are looked at more slowly.
    """
    values = list(_MEMBERS.decode(body).values())
    if _outside(body, values, b"\\u"):
        pairs = json.loads(body, object_pairs_hook=list, parse_int=str, parse_float=str)
        keys = [key for key, _ in pairs]
    else:
        keys = [name.decode().strip('"') for name in quoted_names for _ in range(_outside(body, values, name))]
    for key in keys:
        if keys.count(key) > 1:
            raise Rejected("duplicate_key", f"The key {key!r} stands twice in the request.", f"/{key}")


def require_single_headers(body: bytes) -> None:
    """Refuse a request whose message headers name one twice: the first value would be gone."""
    pairs = json.loads(bytes(_MEMBERS.decode(body)["headers"]), object_pairs_hook=list)
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise Rejected(
                "duplicate_key", f"The header {name!r} stands twice in the message.", f"/headers/{_escaped(name)}"
            )


def malformed(error: Exception) -> Rejected:
    """What is not JSON at all."""
    why = "it nests too deeply" if isinstance(error, RecursionError) else str(error).removeprefix("JSON is malformed: ")
    return Rejected("malformed_json", f"The body is not well-formed JSON: {why}.")


def wrong_field(message: str, body: bytes) -> Invalid:
    """What msgspec found wrong, as a problem with a JSON Pointer instead of its own path."""
    found = _WHERE.fullmatch(message)
    what, path = found.groups() if found else (message, "")
    pointer = _pointer(path or "", body)
    named = _NAMED_FIELD.fullmatch(what)
    if named is None:
        return Invalid("invalid_field", f"{what} at {pointer or 'the top'}.".replace("`", ""), pointer)
    kind, name = named.groups()
    pointer = f"{pointer}/{_escaped(name)}"
    if kind == "missing required":
        return Invalid("missing_field", f"The field {pointer} is required.", pointer)
    return Invalid("unknown_field", f"There is no field {pointer}.", pointer)


def _outside(body: bytes, values: list[msgspec.Raw], part: bytes) -> int:
    return body.count(part) - sum(bytes(value).count(part) for value in values)


def _pointer(path: str, body: bytes) -> str:
    steps = [field or index for field, index in _STEP.findall(path)]
    if steps and steps[-1] == "...":
        # msgspec does not say which entry of a map it was; every map with typed entries has strings in it.
        steps[-1:] = _first_not_text(body, steps[:-1])
    return "".join(f"/{_escaped(step)}" for step in steps)


def _first_not_text(body: bytes, steps: list[str]) -> list[str]:
    try:
        value: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        # Well-formed, but with a number in it that no float can hold.
        return []
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            value = value[int(step)]
    if not isinstance(value, dict):
        return []
    return [key for key, each in value.items() if not isinstance(each, str)][:1]


def _escaped(step: str) -> str:
    return step[:NAME_SHOWN_MAX].replace("~", "~0").replace("/", "~1")
