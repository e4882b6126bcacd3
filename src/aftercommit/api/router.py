"""From a path to the calls it has: a tree of path segments, made once from the route table."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aftercommit.api.endpoint import Endpoint
from aftercommit.api.route import Route

SEGMENTS_MAX: Final = 16


class Place:
    """What is at a path: an endpoint per method."""

    __slots__ = ("allow", "endpoints", "named", "parameter", "template")

    def __init__(self) -> None:
        self.named: dict[str, Place] = {}
        self.parameter: Place | None = None
        self.endpoints: dict[str, Endpoint[Any]] = {}
        self.allow = b""
        self.template = ""

    def add(self, route: Route[Any]) -> None:
        """Take one more method."""
        if route.method in self.endpoints:
            raise ValueError(f"{route.method} {route.path} is in the route table twice; keep one of the entries.")
        endpoint = Endpoint(route)
        self.template = route.path
        self.endpoints[route.method] = endpoint
        if route.method == "GET":
            self.endpoints["HEAD"] = endpoint
        self.allow = ", ".join(sorted([*self.endpoints, "OPTIONS"])).encode()

    def below(self, segment: str) -> "Place":
        """The place one segment further, made if it is new."""
        if segment.startswith("{"):
            if self.parameter is None:
                self.parameter = Place()
            return self.parameter
        return self.named.setdefault(segment, Place())


class Router:
    """Finds places. A name always wins over a parameter, so `/v1/apps/{app}/checks/pull` needs no order."""

    def __init__(self, routes: Iterable[Route[Any]]) -> None:
        self._root = Place()
        for route in routes:
            place = self._root
            for segment in route.path[1:].split("/"):
                place = place.below(segment)
            place.add(route)

    def find(self, path: str) -> tuple[Place, tuple[str, ...]] | None:
        """The place at a path as it came (percent-encoded), with its parameters decoded; None if nothing is there."""
        segments = path[1:].split("/")
        if "%" in path:
            decoded = _decoded(segments)
            if decoded is None:
                return None
            segments = decoded
        if len(segments) > SEGMENTS_MAX:
            return None
        place = self._root
        parameters: list[str] = []
        for segment in segments:
            named = place.named.get(segment)
            if named is None:
                if place.parameter is None or not segment:
                    return None
                parameters.append(segment)
                named = place.parameter
            place = named
        return (place, tuple(parameters)) if place.endpoints else None


def _decoded(segments: list[str]) -> list[str] | None:
    try:
        return [unquote_to_bytes(segment).decode() for segment in segments]
    except UnicodeDecodeError:
        return None
