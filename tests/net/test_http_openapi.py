"""/openapi.json: each endpoint of the router with its parameters, answers and errors.

The application of :mod:`tests.net.http_tools` compares each answer of each test with it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from tests.net.http_tools import DOCUMENT, ScriptedGateway, WorldGateway, cluster, serving
from yak_net.http.endpoints import COMMON_PROBLEMS, ENDPOINTS
from yak_net.http.gateway import BrokerStopped
from yak_net.http.problems import HTTP_FORMS
from yak_net.http.routes import INDEX, routes


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Return each operation of the document by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_has_each_route() -> None:
    """Method: walk the router; the index page of a broker has each route, too."""
    table = {
        (one.method, one.path) for one in routes(ScriptedGateway(lambda _: BrokerStopped(False)))
    }
    assert set(operations()) == table
    listed = re.findall(r"^(GET|POST) +(/\S*)", INDEX, re.MULTILINE)
    assert {(method, path) for method, path in listed} == table
    names = [operation["operationId"] for operation in operations().values()]
    assert len(set(names)) == len(names)


def test_each_reference_of_the_document_leads_somewhere() -> None:
    """Method: all references, and each schema is a valid schema."""
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(DOCUMENT))
    schemas = DOCUMENT["components"]["schemas"]
    assert set(references) == set(schemas)
    for schema in schemas.values():
        jsonschema_rs.meta.validate(schema)


def test_statuses_of_the_node_are_documented() -> None:
    """Goal: each status of an error code is one of the produce or fetch endpoint."""
    documented = {status for each in ENDPOINTS for status in each.problems} | {
        *COMMON_PROBLEMS,
        200,
    }
    assert {form.status for form in HTTP_FORMS.values()} <= documented


async def test_the_document_is_served() -> None:
    """Method: a real request, and one with a parameter that no endpoint has."""
    async with serving(WorldGateway(cluster())) as client:
        answer = await client.get("/openapi.json")
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert await answer.json() == DOCUMENT


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
async def test_every_parameter_is_checked(endpoint: Any) -> None:
    """Goal: an unknown, a duplicate and a malformed parameter get 400."""
    names = [one.name for one in endpoint.parameters if not one.is_header]
    if not names:
        return
    path = endpoint.paths[0]
    async with serving(WorldGateway(cluster())) as client:
        for query in ("no_such=1", *(f"{name}=%00" for name in names)):
            answer = await client.request(endpoint.method, f"{path}?{query}")
            assert answer.status == 400, query
