"""The produce and fetch endpoints.

A produce request becomes one batch without a producer id, so the broker cannot recognise a retry.
A client that repeats a request with an unknown outcome may write its records twice.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from yak_core.broker.fetch import EARLIEST, LATEST
from yak_core.config import MIB
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
from yak_net.http.gateway import Gateway
from yak_net.http.problems import (
    KINDS,
    UNSUPPORTED_COMPRESSION,
    Problem,
    answered,
    problem,
    stage,
)
from yak_net.http.request_parsing import (
    ask_for,
    bad,
    beside,
    check_query,
    json_answer,
    json_body,
    number,
)

FETCH_BYTES: Final = 1 * MIB
FETCH_BYTES_MAX: Final = 2**31 - 1
WAIT_MS_MAX: Final = bodies.TIMEOUT_MS_MAX
ANY_EPOCH: Final = -1
"""Leader epoch of a request whose client does not know the epoch."""
MS: Final = 1_000

_WORDS: Final = {"earliest": EARLIEST, "latest": LATEST}


async def produce(gateway: Gateway, request: web.Request, bytes_max: int) -> web.Response:
    """Handle ``POST /v1/records``: append the records of the body as one batch. Raises Problem."""
    stage(request, Outcome.NOT_WRITTEN)
    check_query(request, "redirect")
    body = await json_body(request)
    try:
        batch, acks, timeout_ms = await beside(
            len(body), bodies.read_produce, body, gateway.wall_ms(), bytes_max
        )
    except bodies.BodyError as error:
        raise bad(f"invalid request body: {error}") from error
    except bodies.NoAcks as error:
        raise problem(ErrorCode.INVALID_REQUIRED_ACKS) from error
    except bodies.TooMuch as error:
        raise problem(ErrorCode.MESSAGE_TOO_LARGE, str(error)) from error
    call = ProduceRequest(0, Epoch(ANY_EPOCH), acks, timeout_ms * MS, batch)
    answer = await ask_for(gateway, request, call, ProduceResponse, produce=True)
    stage(request, answer.outcome)
    if KINDS[answer.error].status == 200:
        return json_answer(bodies.written(answer, batch.count))
    raise answered(
        gateway,
        answer.error,
        leader=answer.leader,
        leader_epoch=answer.leader_epoch,
        hw=answer.hw,
        outcome=answer.outcome,
        detail=answer.detail,
    )


async def fetch(gateway: Gateway, request: web.Request) -> web.Response:
    """Handle ``GET /v1/records``: return records from an offset on. Raises Problem.

    Waits up to ``wait_ms`` milliseconds for new records at the high watermark.
    """
    check_query(request, "offset", "max_bytes", "wait_ms", "redirect")
    bytes_max = number(request, "max_bytes", FETCH_BYTES, FETCH_BYTES_MAX)
    wait_ms = number(request, "wait_ms", 0, WAIT_MS_MAX)
    word = request.query.get("offset", "earliest")
    if word in _WORDS:
        offset = await _listed(gateway, request, _WORDS[word])
    elif word.isdecimal():
        offset = number(request, "offset", 0)
    else:
        raise bad(f"offset must be an integer, earliest or latest, got {ascii(word)[:60]}")
    call = FetchRequest(0, offset, NO_EPOCH, Epoch(ANY_EPOCH), bytes_max, wait_ms * MS)
    answer = await ask_for(gateway, request, call, FetchResponse, produce=False)
    if answer.error is not ErrorCode.NONE:
        raise _not_fetched(gateway, answer)
    size = bodies.size_of(answer.batches)
    try:
        return json_answer(await beside(size, bodies.fetched, answer, offset))
    except bodies.Unreadable as error:
        raise _unreadable(error) from error


async def _listed(gateway: Gateway, request: web.Request, at: int) -> Offset:
    """Return the offset of ``earliest`` or ``latest``, as listed by the node. Raises Problem."""
    call = ListOffsetsRequest(0, at)
    answer = await ask_for(gateway, request, call, ListOffsetsResponse, produce=False)
    if answer.error is not ErrorCode.NONE:
        raise answered(
            gateway, answer.error, leader=answer.leader, leader_epoch=answer.leader_epoch
        )
    return answer.offset


def _not_fetched(gateway: Gateway, answer: FetchResponse) -> Problem:
    more = {}
    if answer.error is ErrorCode.OFFSET_OUT_OF_RANGE:
        more["log_start_offset"] = answer.log_start
    return answered(
        gateway,
        answer.error,
        leader=answer.leader,
        leader_epoch=answer.leader_epoch,
        hw=answer.hw,
        detail=answer.detail,
        more=more,
    )


def _unreadable(error: bodies.Unreadable) -> Problem:
    detail = f"{error}; continue at next_offset {error.next_offset}"
    more = {"next_offset": error.next_offset}
    if not error.compressed:
        return problem(ErrorCode.CORRUPT_MESSAGE, detail, more=more)
    title = "Compressed records"
    return Problem(422, UNSUPPORTED_COMPRESSION, title, detail, more=more)
