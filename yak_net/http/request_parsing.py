"""What a handler does before and after it asks the node; must never ask the same thing twice.

Query strings and content types are read here, strictly: a misspelt parameter is an error and not a
surprise. What takes long in pure code runs beside the event loop, which has heartbeats to send.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from yak_core.contract.messages import Request, Response
from yak_core.errors import ErrorCode, Outcome
from yak_net.http.gateway import Gateway, Gone
from yak_net.http.problems import COMMON_HEADERS, Problem, gone, problem, stage

BODY_S: Final = 30.0
"""How long a body may take to arrive."""
BESIDE_BYTES: Final = 32 * 1024
"""Work on more bytes than this would hold up heartbeats."""
NUMBER_MAX: Final = 2**63 - 1

_NUMBER: Final = re.compile(r"[0-9]{1,19}")

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


async def beside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do pure work on ``size`` bytes, in a thread if they are many."""
    if size <= BESIDE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def ask(gateway: Gateway, call: Request, expected: type[R]) -> R:
    """The node's answer. Raises Gone, or TypeError for an answer to another question."""
    answer: Response = await gateway.ask(call)
    if not isinstance(answer, expected):
        raise TypeError(f"{type(call).__name__} was answered with {type(answer).__name__}")
    return answer


async def ask_for(
    gateway: Gateway, request: web.Request, call: Request, expected: type[R], *, produce: bool
) -> R:
    """The node's answer, or a Problem that says what a lost one means."""
    if produce:
        stage(request, Outcome.UNKNOWN)
    try:
        return await ask(gateway, call, expected)
    except Gone as lost:
        if produce and not lost.sent:
            stage(request, Outcome.NOT_WRITTEN)
        raise gone(gateway.phase, lost.sent, produce=produce) from lost


def check_query(request: web.Request, *allowed: str) -> None:
    """Refuse parameters that the endpoint does not have, and those that stand there twice."""
    for name in request.query:
        if name not in allowed:
            takes = f"only {', '.join(allowed)}" if allowed else "nor any other"
            raise bad(f"there is no parameter {ascii(name)[:60]} here, {takes}")
        if len(request.query.getall(name)) > 1:
            raise bad(f"{name} stands there twice")
    if request.query.get("redirect", "1") not in ("0", "1"):
        raise bad("redirect is 1 or 0")


def number(request: web.Request, name: str, default: int, most: int = NUMBER_MAX) -> int:
    """A parameter that is a whole number from 0 to ``most``."""
    word = request.query.get(name)
    if word is None:
        return default
    if not _NUMBER.fullmatch(word) or int(word) > most:
        raise bad(f"{name} is a whole number from 0 to {most}, not {ascii(word)[:60]}")
    return int(word)


async def json_body(request: web.Request) -> bytes:
    """The body of a request that says it is plain JSON."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise _unsupported("send the body without Content-Encoding: nothing is unpacked here")
    charset = (request.charset or "utf-8").lower()
    if request.content_type != "application/json" or charset not in ("utf-8", "utf8"):
        raise _unsupported(
            'send JSON, with Content-Type: application/json, such as {"records": [{"value": "a"}]}'
        )
    limit = request.client_max_size
    if limit and (request.content_length or 0) > limit:
        raise problem(ErrorCode.MESSAGE_TOO_LARGE, f"a body has at most {limit} bytes")
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError as error:
        code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
        detail = f"the body took more than {BODY_S:g} s to arrive"
        raise Problem(
            408, code, "Request Timeout", detail, retriable=True, headers={"Connection": "close"}
        ) from error


def bad(detail: str) -> Problem:
    """The problem of a request that cannot be meant."""
    return problem(ErrorCode.INVALID_REQUEST, detail)


def _unsupported(detail: str) -> Problem:
    code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
    return Problem(
        415, code, "Unsupported Media Type", detail, headers={"Accept": "application/json"}
    )


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """An answer that is JSON already."""
    return web.Response(
        body=body, status=status, headers=COMMON_HEADERS, content_type="application/json"
    )
