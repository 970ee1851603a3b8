"""``GET /openapi.json``: the table of endpoints as OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from yak_net.http.answers import ProblemBody
from yak_net.http.endpoints import (
    COMMON_PROBLEMS,
    ENDPOINTS,
    FETCH,
    JSON,
    NO_NUMBER,
    OFFSET,
    PRODUCE,
    Endpoint,
    Parameter,
)
from yak_net.http.json_bodies import FetchedRecord, JsonHeader, JsonRecord
from yak_net.http.problems import CONTENT_TYPE
from yak_net.runtime.wire import CLUSTER_HEADER, NODE_HEADER

_SCHEMA_AT: Final = "#/components/schemas/{name}"
REDIRECT: Final = 307
_ONE_KEY: Final = {"not": {"required": ["key", "key_b64"]}}
_RULES: Final[dict[type, dict[str, object]]] = {
    JsonRecord: {"oneOf": [{"required": ["value"]}, {"required": ["value_b64"]}], **_ONE_KEY},
    JsonHeader: {"not": {"required": ["value", "value_b64"]}},
    FetchedRecord: {"oneOf": [{"required": ["value"]}, {"required": ["value_b64"]}], **_ONE_KEY},
}
"""Rules about several members of an object, which the types do not express."""
_NEXT: Final = {PRODUCE: "base_offset", FETCH: "next_offset"}
"""Endpoint -> the member of its answer that is an offset to fetch from."""


@cache
def document(version: str) -> bytes:
    """Return the description of all endpoints as JSON."""
    types = {one for each in ENDPOINTS for one in (each.body, each.answer) if one is not None}
    ordered = sorted(types, key=lambda one: one.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, ProblemBody], ref_template=_SCHEMA_AT)
    for kind, rule in _RULES.items():
        schemas[kind.__name__] |= rule
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
    forms: list[dict[str, object]] = []
    if parameter.words:
        forms.append({"type": "string", "enum": list(parameter.words)})
    if parameter.most != NO_NUMBER:
        forms.append({"type": "integer", "minimum": 0, "maximum": parameter.most})
    schema: dict[str, object] = {"anyOf": forms} if len(forms) > 1 else {"type": "string"}
    if len(forms) == 1:
        schema = forms[0]
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "header" if parameter.is_header else "query",
        "description": parameter.meaning,
        "schema": schema,
    }


def _responses(endpoint: Endpoint) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object" if endpoint.content == JSON else "string"}
    if endpoint.answer is not None:
        schema = _reference(endpoint.answer)
    types = filter(None, (endpoint.content, endpoint.on_request))
    content = {each: {"schema": schema} for each in types}
    answer: dict[str, object] = {"description": endpoint.summary, "headers": _headers(200)}
    answer["content"] = content
    if endpoint in _NEXT:
        offset = f"$response.body#/{_NEXT[endpoint]}"
        answer["links"] = {
            FETCH.name: {"operationId": FETCH.name, "parameters": {OFFSET.name: offset}}
        }
    found: dict[str, object] = {"200": answer}
    for status in sorted({*COMMON_PROBLEMS, *endpoint.problems}):
        content = {CONTENT_TYPE: {"schema": _reference(ProblemBody)}}
        if status == 503 and endpoint.not_ready:
            content |= {endpoint.content: {"schema": schema}}
        answer = {"description": HTTPStatus(status).phrase, "headers": _headers(status)}
        found[str(status)] = answer if status == REDIRECT else {**answer, "content": content}
    return found


def _headers(status: int) -> dict[str, object]:
    """Return the headers of an answer, and whether each of them is always there."""
    found: dict[str, object] = {
        NODE_HEADER: _header("Id of the broker.", required=True),
        CLUSTER_HEADER: _header("Name of the cluster.", required=True),
    }
    if status == REDIRECT:
        found["Location"] = _header("URL of the same request at the leader.", required=True)
    if status in (429, 503):
        found["Retry-After"] = _header("Seconds; absent if the outcome is unknown.", "integer")
    return found


def _header(meaning: str, kind: str = "string", *, required: bool = False) -> dict[str, object]:
    return {"description": meaning, "required": required, "schema": {"type": kind}}


def _reference(kind: type) -> dict[str, object]:
    return {"$ref": _SCHEMA_AT.format(name=kind.__name__)}
