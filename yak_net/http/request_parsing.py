"""Helpers of the HTTP handlers: query strings, bodies, and calls to the node.

Query strings and content types are parsed strictly: an unknown parameter is an error. Long
computations run in a thread, because the event loop must send heartbeats in time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from yak_core.contract.messages import Request, Response
from yak_core.errors import ErrorCode, Outcome
from yak_net.http.connections import STALL_BYTES, STALL_S
from yak_net.http.endpoints import Endpoint, Parameter
from yak_net.http.gateway import BrokerStopped, Gateway
from yak_net.http.problems import COMMON_HEADERS, Problem, problem, set_outcome, stopped_problem
from yak_net.http.shares import Share

BODY_TIMEOUT_S: Final = 30.0
"""Seconds after which the broker stops waiting for a request body."""
THREAD_BYTES: Final = 32 * 1024
"""Work on more bytes than this runs in a thread, so that it does not delay heartbeats."""
PART_BYTES: Final = 64 * 1024
"""A larger answer is sent in parts of this size: the transport would copy all of it."""

# Two: more would not be faster, and each needs several times the memory of its body.
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="yak-http")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


async def offload(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a pure function on ``size`` bytes; in a thread if ``size`` exceeds THREAD_BYTES."""
    if size <= THREAD_BYTES:
        return function(*args, **kwargs)
    call = partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)


async def ask(gateway: Gateway, call: Request, expected: type[R]) -> R:
    """Return the node's response. Raises BrokerStopped, TypeError if it is not ``expected``."""
    answer: Response = await gateway.ask(call)
    if not isinstance(answer, expected):
        raise TypeError(
            f"expected {expected.__name__} for {type(call).__name__}, got {type(answer).__name__}"
        )
    return answer


async def ask_or_problem(
    gateway: Gateway, request: web.Request, call: Request, expected: type[R], *, produce: bool
) -> R:
    """Return the node's response. Raises Problem if the broker stops before it responds."""
    if produce:
        set_outcome(request, Outcome.UNKNOWN)
    try:
        return await ask(gateway, call, expected)
    except BrokerStopped as stopped:
        if produce and not stopped.sent:
            set_outcome(request, Outcome.NOT_WRITTEN)
        raise stopped_problem(gateway.phase, stopped.sent, produce=produce) from stopped


def check_query(request: web.Request, endpoint: Endpoint) -> None:
    """Raise Problem for an unknown, a duplicate, or an invalid query parameter."""
    allowed = [parameter.name for parameter in endpoint.parameters]
    for name in request.query:
        if name not in allowed:
            names = ", ".join(allowed) or "no parameters"
            shown = ascii(name)[:60]
            raise invalid_request(f"unknown query parameter {shown}; this endpoint takes {names}")
        if len(request.query.getall(name)) > 1:
            raise invalid_request(f"duplicate query parameter {name}")
    redirect = request.query.get("redirect", "1")
    if redirect not in ("0", "1"):
        raise invalid_request(f"redirect must be 0 or 1, got {ascii(redirect)[:60]}")


def integer_parameter(request: web.Request, parameter: Parameter) -> int:
    """Return an integer parameter, or its default. Raises Problem."""
    text, most = request.query.get(parameter.name), parameter.most
    if text is None:
        return int(parameter.default or 0)
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise invalid_request(
            f"{parameter.name} must be an integer from 0 to {most}, got {ascii(text)[:60]}"
        )
    return int(text)


async def json_body(request: web.Request, share: Share) -> bytes:
    """Return the body of a request whose headers declare plain JSON. Raises Problem.

    ``share`` grows with the bytes that have arrived. The body must be complete after
    BODY_TIMEOUT_S, and STALL_BYTES of it, or its rest, must arrive in each STALL_S.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise _unsupported("compressed bodies are not supported; send without Content-Encoding")
    charset = (request.charset or "utf-8").lower()
    if request.content_type != "application/json" or charset not in ("utf-8", "utf8"):
        raise _unsupported(
            "expected JSON in UTF-8 with Content-Type: application/json, "
            'such as {"records": [{"value": "a"}]}'
        )
    limit = request.client_max_size
    size = request.content_length or 0
    if limit and size > limit:
        raise _too_large(size, limit)
    now = asyncio.get_running_loop().time
    end = now() + BODY_TIMEOUT_S
    body = bytearray()
    checked = 0
    try:
        async with asyncio.timeout_at(min(end, now() + STALL_S)) as deadline:
            while chunk := await request.content.readany():
                body += chunk
                if limit and len(body) > limit:
                    raise _too_large(len(body), limit)
                share.resize(len(body))
                if len(body) - checked >= STALL_BYTES:
                    checked = len(body)
                    deadline.reschedule(min(end, now() + STALL_S))
        return bytes(body)
    except TimeoutError as error:
        code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
        detail = (
            f"the request body arrives too slowly: {len(body)} bytes; send it within "
            f"{BODY_TIMEOUT_S:g} s, and {STALL_BYTES} bytes in each {STALL_S:g} s"
        )
        raise Problem(
            408, code, "Request Timeout", detail, retriable=True, headers={"Connection": "close"}
        ) from error


def invalid_request(detail: str) -> Problem:
    """Return the problem of an invalid request."""
    return problem(ErrorCode.INVALID_REQUEST, detail)


def _too_large(size: int, limit: int) -> Problem:
    detail = f"the request body has {size} bytes, at most {limit} are allowed"
    return problem(ErrorCode.MESSAGE_TOO_LARGE, detail)


def _unsupported(detail: str) -> Problem:
    code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
    return Problem(
        415, code, "Unsupported Media Type", detail, headers={"Accept": "application/json"}
    )


async def send_json(request: web.Request, body: bytes) -> web.StreamResponse:
    """Send a response whose body is already JSON, in parts, as fast as the client receives it."""
    if len(body) <= PART_BYTES or request.method == "HEAD":
        return json_response(body)
    response = web.StreamResponse(headers=COMMON_HEADERS)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    whole = memoryview(body)
    for at in range(0, len(body), PART_BYTES):
        await response.write(whole[at : at + PART_BYTES])
    await response.write_eof()
    return response


def json_response(body: bytes, status: int = 200) -> web.Response:
    """Return a response whose body is already JSON."""
    return web.Response(
        body=body, status=status, headers=COMMON_HEADERS, content_type="application/json"
    )
