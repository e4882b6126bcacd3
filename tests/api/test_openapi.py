"""The OpenAPI document is valid, and says neither more nor less than the route table."""

from collections.abc import Iterator
from typing import Any

import pytest

from aftercommit.api.openapi import document, operation_id, path_parameters, status_of_code
from aftercommit.api.problems import STATUS_OF_CODE, STATUS_OF_REFUSAL
from aftercommit.api.router import Router
from aftercommit.api.routes import ROUTES
from tests.api.door import Door

METHODS = {"get", "put", "post", "delete"}
DOCUMENT = document(ROUTES, "1.2.3")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_it_lists_every_route_and_nothing_else():
    assert {(path, method) for path, method, _ in operations()} == {(each.path, each.method.lower()) for each in ROUTES}


def test_the_router_finds_every_route():
    router = Router(ROUTES)

    for route in ROUTES:
        found = router.find(route.path.replace("{", "").replace("}", ""))
        assert found is not None
        place, parameters = found
        assert place.endpoints[route.method].route is route
        assert list(parameters) == path_parameters(route.path)


def test_it_has_the_shape_of_openapi():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    tags = {each["name"] for each in DOCUMENT["tags"]}
    for path, method, operation in operations():
        where = f"{method} {path}"
        assert path.startswith("/"), where
        assert method in METHODS, where
        assert set(operation["tags"]) <= tags, where
        assert operation["summary"], where
        assert operation["description"], where
        assert operation["responses"], where
        for status, response in operation["responses"].items():
            assert status.isdigit(), where
            assert response["description"], where
            assert all("/" in media for media in response.get("content", {})), where


def test_every_reference_leads_somewhere():
    for reference in references(DOCUMENT):
        target: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def test_every_shape_is_used():
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}

    assert DOCUMENT["components"]["schemas"].keys() <= used


def test_parameters_are_named_once_and_those_of_the_path_are_complete():
    for path, method, operation in operations():
        named = [(each["name"], each["in"]) for each in operation["parameters"] if "name" in each]
        assert len(set(named)) == len(named), f"{method} {path}"
        in_path = [each for each in operation["parameters"] if each.get("in") == "path"]
        assert [each["name"] for each in in_path] == path_parameters(path)
        assert all(each["required"] for each in in_path)


def test_operations_have_names_of_their_own():
    names = [operation_id(each) for each in ROUTES]

    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_request_shapes_refuse_unknown_fields():
    for path, method, operation in operations():
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            if "$ref" in schema:
                schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False, f"{method} {path}"


def test_a_code_has_one_status():
    for refusal, status in STATUS_OF_REFUSAL.items():
        assert STATUS_OF_CODE.get(refusal.value, status) == status
        assert status_of_code(refusal.value) == status


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_it_is_served(api: Door, path):
    response = await api.client.get(path)

    assert response.status_code == 200
    for each in ROUTES:
        assert each.path in response.text


async def test_it_is_readable_json(api: Door):
    response = await api.client.get("/openapi.json")

    assert response.headers["content-type"] == "application/json"
    assert response.json()["paths"].keys() == DOCUMENT["paths"].keys()
    assert response.text.count("\n") > 500
