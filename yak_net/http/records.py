"""The produce and fetch endpoints.

A produce request becomes one batch without a producer id, so the broker cannot recognise a retry.
A client that repeats a request with an unknown outcome may write its records twice.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from yak_core.batch import Batch
from yak_core.broker.fetch import EARLIEST, LATEST
from yak_core.contract.messages import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
    ProduceResponse,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import NO_EPOCH, Epoch, Offset
from yak_net.http import json_bodies as bodies
from yak_net.http.endpoints import FETCH, MAX_BYTES, OFFSET, PRODUCE, WAIT_MS
from yak_net.http.gateway import Gateway
from yak_net.http.problems import (
    HTTP_FORMS,
    UNSUPPORTED_COMPRESSION,
    Problem,
    problem,
    problem_of_response,
    set_outcome,
)
from yak_net.http.request_parsing import (
    ask_or_problem,
    check_query,
    integer_parameter,
    invalid_request,
    json_body,
    json_response,
    offload,
    send_json,
)
from yak_net.http.shares import Share
from yak_net.runtime.budget import Budget

ANY_EPOCH: Final = -1
"""Leader epoch of a request whose client does not know the epoch."""
JSON_FACTOR: Final = 3
"""Estimated bytes of an answer for a byte of its batches, while it is made."""
US_PER_MS: Final = 1_000

_NAMED_OFFSETS: Final = {"earliest": EARLIEST, "latest": LATEST}


async def produce(
    gateway: Gateway, request: web.Request, bytes_max: int, budget: Budget
) -> web.Response:
    """Handle ``POST /v1/records``: append the records of the body as one batch. Raises Problem."""
    set_outcome(request, Outcome.NOT_WRITTEN)
    check_query(request, PRODUCE)
    with Share(budget) as share:
        batch, acks, timeout_ms = await _parsed(request, share, gateway.wall_ms(), bytes_max)
        share.resize(batch.size)
        call = ProduceRequest(0, Epoch(ANY_EPOCH), acks, timeout_ms * US_PER_MS, batch)
        answer = await ask_or_problem(gateway, request, call, ProduceResponse, produce=True)
    set_outcome(request, answer.outcome)
    if HTTP_FORMS[answer.error].status == 200:
        return json_response(bodies.produce_response(answer, batch.count))
    raise problem_of_response(
        gateway,
        answer.error,
        leader=answer.leader,
        leader_epoch=answer.leader_epoch,
        hw=answer.hw,
        outcome=answer.outcome,
        detail=answer.detail,
    )


async def _parsed(
    request: web.Request, share: Share, now_ms: int, bytes_max: int
) -> tuple[Batch, int, int]:
    """Return the batch of a body, acks, and the timeout in ms. Raises Problem."""
    body = await json_body(request, share)
    try:
        return await offload(len(body), bodies.parse_produce, body, now_ms, bytes_max)
    except bodies.BodyError as error:
        raise invalid_request(f"invalid request body: {error}") from error
    except bodies.InvalidAcks as error:
        raise problem(ErrorCode.INVALID_REQUIRED_ACKS) from error
    except bodies.TooLarge as error:
        raise problem(ErrorCode.MESSAGE_TOO_LARGE, str(error)) from error


async def fetch(gateway: Gateway, request: web.Request, budget: Budget) -> web.StreamResponse:
    """Handle ``GET /v1/records``: return records from an offset on. Raises Problem.

    Waits up to ``wait_ms`` milliseconds for new records at the high watermark.
    """
    check_query(request, FETCH)
    bytes_max = integer_parameter(request, MAX_BYTES)
    wait_ms = integer_parameter(request, WAIT_MS)
    offset = await first_offset(gateway, request, "earliest")
    call = FetchRequest(0, offset, NO_EPOCH, Epoch(ANY_EPOCH), bytes_max, wait_ms * US_PER_MS)
    answer = await ask_or_problem(gateway, request, call, FetchResponse, produce=False)
    if answer.error is not ErrorCode.NONE:
        raise fetch_problem(gateway, answer)
    size = bodies.size_of(answer.batches)
    with Share(budget) as share:
        share.resize(JSON_FACTOR * size)
        try:
            body = await offload(size, bodies.fetch_response, answer, offset)
        except bodies.Unreadable as error:
            raise _unreadable_problem(error) from error
        del answer  # the batches
        share.resize(len(body))
        return await send_json(request, body)


async def first_offset(gateway: Gateway, request: web.Request, default: str) -> Offset:
    """Return the offset of the parameter ``offset``: a number or a name. Raises Problem."""
    text = request.query.get("offset", default)
    if text in _NAMED_OFFSETS:
        return await offset_named(gateway, request, _NAMED_OFFSETS[text])
    if text.isdecimal():
        return integer_parameter(request, OFFSET)
    shown = ascii(text)[:60]
    raise invalid_request(f"offset must be an integer, earliest or latest, got {shown}")


async def offset_named(gateway: Gateway, request: web.Request, at: int) -> Offset:
    """Return the offset of ``earliest`` or ``latest``, as listed by the node. Raises Problem."""
    call = ListOffsetsRequest(0, at)
    answer = await ask_or_problem(gateway, request, call, ListOffsetsResponse, produce=False)
    if answer.error is not ErrorCode.NONE:
        raise problem_of_response(
            gateway, answer.error, leader=answer.leader, leader_epoch=answer.leader_epoch
        )
    return answer.offset


def fetch_problem(gateway: Gateway, answer: FetchResponse) -> Problem:
    """Return the problem of a failed fetch."""
    more = {}
    if answer.error is ErrorCode.OFFSET_OUT_OF_RANGE:
        more["log_start_offset"] = answer.log_start
    return problem_of_response(
        gateway,
        answer.error,
        leader=answer.leader,
        leader_epoch=answer.leader_epoch,
        hw=answer.hw,
        detail=answer.detail,
        more=more,
    )


def _unreadable_problem(error: bodies.Unreadable) -> Problem:
    detail = f"{error}; continue at next_offset {error.next_offset}"
    more = {"next_offset": error.next_offset}
    if not error.compressed:
        return problem(ErrorCode.CORRUPT_MESSAGE, detail, more=more)
    title = "Compressed records"
    return Problem(422, UNSUPPORTED_COMPRESSION, title, detail, more=more)
