"""``GET /openapi.json``: the table of endpoints as OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from yak_net.http.answers import ProblemBody
from yak_net.http.endpoints import COMMON_PROBLEMS, ENDPOINTS, JSON, Endpoint, Parameter
from yak_net.http.problems import CONTENT_TYPE

_SCHEMA_AT: Final = "#/components/schemas/{name}"
REDIRECT: Final = 307


@cache
def document(version: str) -> bytes:
    """Return the description of all endpoints as JSON."""
    types = {one for each in ENDPOINTS for one in (each.body, each.answer) if one is not None}
    ordered = sorted(types, key=lambda one: one.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, ProblemBody], ref_template=_SCHEMA_AT)
    paths: dict[str, dict[str, object]] = {}
    for each in ENDPOINTS:
        for number, path in enumerate(each.paths):
            name = each.name if number == 0 else f"{each.name}{number + 1}"
            paths.setdefault(path, {})[each.method.lower()] = _operation(each, name)
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "YAK broker",
            "version": version,
            "description": "The HTTP interface of one broker; see docs/http.md.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(found) + b"\n"


def _operation(endpoint: Endpoint, name: str) -> dict[str, object]:
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": endpoint.summary,
        "parameters": [_parameter(one) for one in endpoint.parameters],
        "responses": _responses(endpoint),
    }
    if endpoint.is_stream:
        operation["x-stream"] = True
    if endpoint.body is not None:
        content = {JSON: {"schema": _reference(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(parameter: Parameter) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer", "minimum": 0, "maximum": parameter.most}
    if parameter.pattern:
        schema = {"type": "string", "pattern": f"^({parameter.pattern})$"}
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.meaning,
        "schema": schema,
    }


def _responses(endpoint: Endpoint) -> dict[str, object]:
    schema = {"type": "object"} if endpoint.content == JSON else {"type": "string"}
    if endpoint.answer is not None:
        schema = _reference(endpoint.answer)
    answer = {"description": endpoint.summary, "content": {endpoint.content: {"schema": schema}}}
    found: dict[str, object] = {"200": answer}
    for status in sorted({*COMMON_PROBLEMS, *endpoint.problems}):
        content = {CONTENT_TYPE: {"schema": _reference(ProblemBody)}}
        if status == 503 and endpoint.not_ready:
            content |= {endpoint.content: {"schema": schema}}
        phrase = HTTPStatus(status).phrase
        found[str(status)] = (
            {"description": phrase, "headers": {"Location": {"schema": {"type": "string"}}}}
            if status == REDIRECT
            else {"description": phrase, "content": content}
        )
    return found


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": _SCHEMA_AT.format(name=kind.__name__)}
