"""``GET /v1/records/stream``: committed records as server-sent events, as they come.

The id of an event is the offset of its record, so a client that connects again with
``Last-Event-ID`` continues at the next record. The broker fetches the next records only when the
client has room for them. A stream ends with an event that says why, such as the new leader.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from yak_core.contract.messages import FetchRequest, FetchResponse
from yak_core.errors import RETRIABLE, ErrorCode
from yak_core.ids import NO_EPOCH, Epoch, Offset
from yak_net.http import json_bodies as bodies
from yak_net.http.endpoints import NUMBER_MAX, STREAM_RECORDS
from yak_net.http.gateway import BrokerStopped, Gateway, Phase
from yak_net.http.problems import HTTP_FORMS
from yak_net.http.records import ANY_EPOCH, JSON_FACTOR, US_PER_MS, fetch_problem, first_offset
from yak_net.http.request_parsing import (
    ask,
    ask_or_problem,
    check_query,
    invalid_request,
    offload,
)
from yak_net.http.shares import Share
from yak_net.http.sse import LAST_EVENT_ID, EventStream, Slots, event
from yak_net.runtime.budget import Budget

STREAMS_MAX: Final = 256
"""Open streams of records of one broker."""
FETCH_BYTES: Final = 256 * 1024
"""Bytes of batches of one turn; at least one whole batch."""
HEARTBEAT_MS: Final = 10_000
"""Milliseconds without a record after which a comment is sent."""
PAUSE_S: Final = 0.5
"""Seconds between two fetches if the broker cannot wait for records or lacks memory."""
LEADER_WAIT_S: Final = 3.0
"""Seconds in which a broker that stopped leading waits to learn who leads now."""
LEADER_POLL_S: Final = 0.05


async def stream_records(
    gateway: Gateway, request: web.Request, budget: Budget, slots: Slots
) -> web.StreamResponse:
    """Handle ``GET /v1/records/stream``. Raises Problem before the first event."""
    check_query(request, STREAM_RECORDS)
    offset = last_event_id(request)
    if offset is None:
        offset = await first_offset(gateway, request, "earliest")
    with slots.take():
        # The first fetch, before the headers: its error is an ordinary problem.
        call = _fetch(offset, NO_EPOCH, 0)
        answer = await ask_or_problem(gateway, request, call, FetchResponse, produce=False)
        if answer.error is not ErrorCode.NONE:
            raise fetch_problem(gateway, answer)
        stream = EventStream(request)
        await stream.open()
        await _run(gateway, stream, budget, offset, answer)
        return await stream.close()


def last_event_id(request: web.Request) -> Offset | None:
    """Return the offset after that of the header Last-Event-ID; None without it. Raises Problem."""
    text = request.headers.get(LAST_EVENT_ID, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) < NUMBER_MAX):
        raise invalid_request(
            f"{LAST_EVENT_ID} must be the offset of the last record received, "
            f"got {ascii(text)[:60]}; send none to start at the parameter offset"
        )
    return int(text) + 1


async def _run(
    gateway: Gateway, stream: EventStream, budget: Budget, offset: Offset, answer: FetchResponse
) -> None:
    """Send records from ``offset`` on, beginning with those of ``answer``, until the end."""
    clock = asyncio.get_running_loop().time
    last_epoch = NO_EPOCH
    while True:
        if answer.error is not ErrorCode.NONE or answer.diverging_end >= 0:
            await stream.send(await _ending(gateway, answer, offset))
            return
        if answer.batches:
            last_epoch = answer.batches[-1].epoch
            offset = await _send(stream, budget, answer, offset)
            if offset != answer.batches[-1].end:
                last_epoch = NO_EPOCH  # unknown, within these batches
        del answer  # the batches
        began = clock()
        try:
            call = _fetch(offset, last_epoch, HEARTBEAT_MS)
            answer = await ask(gateway, call, FetchResponse)
        except BrokerStopped:
            await stream.send(_end_of_broker(gateway, offset))
            return
        if answer.error is ErrorCode.NONE and not answer.batches:
            await stream.heartbeat()
            if clock() - began < PAUSE_S:  # too many long polls wait: do not ask in a circle
                await asyncio.sleep(PAUSE_S)


def _fetch(offset: Offset, last_epoch: Epoch, wait_ms: int) -> FetchRequest:
    wait_us = wait_ms * US_PER_MS
    return FetchRequest(0, offset, last_epoch, Epoch(ANY_EPOCH), FETCH_BYTES, wait_us)


async def _send(
    stream: EventStream, budget: Budget, answer: FetchResponse, offset: Offset
) -> Offset:
    """Send the records of an answer; return the next offset. Waits for room in ``budget``."""
    size = bodies.size_of(answer.batches)
    with Share(budget) as share:
        while not budget.has_room(JSON_FACTOR * size, 0):
            await stream.heartbeat()
            await asyncio.sleep(PAUSE_S)
        share.resize(JSON_FACTOR * size)
        events, next_offset = await offload(size, bodies.record_events, answer, offset)
        await stream.send(events)
    return next_offset


async def _ending(gateway: Gateway, answer: FetchResponse, next_offset: Offset) -> bytes:
    """Return the last event of a stream: the new leader, or the error."""
    if gateway.phase is not Phase.RUNNING:
        return _end_of_broker(gateway, next_offset)
    if answer.error is ErrorCode.NOT_LEADER_OR_FOLLOWER:
        return await _new_leader(gateway, next_offset)
    error, detail = answer.error, answer.detail or HTTP_FORMS[answer.error].advice
    if answer.diverging_end >= 0:
        error = ErrorCode.OFFSET_OUT_OF_RANGE
        detail = (
            f"the log no longer has the records below offset {next_offset}: it differs from offset "
            f"{answer.diverging_end} on; read it again from there"
        )
    return _end(error, detail, next_offset)


async def _new_leader(gateway: Gateway, next_offset: Offset) -> bytes:
    """Return the event that names the new leader, once this broker knows it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + LEADER_WAIT_S
    while (view := gateway.view()) is not None:
        if view.leader not in (None, gateway.node_id) or clock() > deadline:
            break
        await asyncio.sleep(LEADER_POLL_S)
    leader = None if view is None or view.leader == gateway.node_id else view.leader
    url = gateway.url_of(leader)
    where = f"{url}/v1/records/stream?offset={next_offset}" if url else None
    data = {
        "leader": None if leader is None else {"id": leader, "url": url or None},
        "leader_epoch": None if view is None else view.epoch,
        "next_offset": next_offset,
        "url": where,
        "detail": f"continue at {where}"
        if where
        else "this broker does not lead any more; find the leader with GET /v1/cluster",
    }
    return event("leader", data)


def _end_of_broker(gateway: Gateway, next_offset: Offset) -> bytes:
    detail = f"the broker is {gateway.phase}; continue at another broker"
    return _end(ErrorCode.NETWORK_EXCEPTION, detail, next_offset)


def _end(error: ErrorCode, detail: str, next_offset: Offset) -> bytes:
    data = {
        "error_code": int(error),
        "error": error.name,
        "detail": detail,
        "retriable": error in RETRIABLE,
        "next_offset": next_offset,
    }
    return event("end", data)
