"""POST /v1/records with a real broker node: records, responses and problems."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import Any

import pytest

from tests.core.brokers import isr
from tests.net.http_tools import (
    JSON,
    NOW_MS,
    SECOND,
    WorldGateway,
    cluster,
    problem,
    records_of,
    serving,
    url,
)
from yak_core.batch import records
from yak_core.manual.world import STORE
from yak_net.http.gateway import Phase

FULL = 1000 - 61 - 9
"""Length of the value whose record fills a batch of 1000 bytes."""


async def test_records_are_written_as_one_batch(gateway: WorldGateway) -> None:
    """Post records of every shape: the log has them in one sealed batch without producer id."""
    body: dict[str, Any] = {
        "records": [
            {"value": "a"},
            {"value": None, "key": "k", "timestamp_ms": 5},
            {
                "value_b64": base64.b64encode(b"\xff\x00").decode(),
                "key_b64": "/w==",
                "headers": [{"key": "h", "value": "1"}, {"key": "h", "value": None}],
            },
        ],
        "acks": "all",
        "timeout_ms": 1000,
    }

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json=body)
        assert answer.status == 200
        assert answer.content_type == "application/json"
        found = await answer.json()
        assert found == {"base_offset": 0, "count": 3, "epoch": 1, "hw": 3}
        again = await client.post("/produce", json=records_of("b"))
        assert (await again.json())["base_offset"] == 3
    batch, _ = gateway.world.nodes["n2"].disk.read(0, 4, 1 << 20)
    assert batch.producer_id == -1
    assert batch.crc != 0
    assert [(r.timestamp_ms, r.key, r.value, r.headers) for r in records(batch)] == [
        (NOW_MS, None, b"a", ()),
        (5, b"k", None, ()),
        (NOW_MS, b"\xff", b"\xff\x00", (("h", b"1"), ("h", None))),
    ]


@pytest.mark.parametrize(
    ("acks", "base", "epoch"), [("all", 0, 1), (-1, 0, 1), (1, 0, 1), (0, None, None)]
)
async def test_each_acks_is_accepted(
    acks: object, base: int | None, epoch: int | None, gateway: WorldGateway
) -> None:
    """Post with each acks: the answer has the offset, except with acks=0."""

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json={**records_of("a"), "acks": acks})
        assert answer.status == 200
        found = await answer.json()
        assert (found["base_offset"], found["epoch"], found["count"]) == (base, epoch, 1)
    gateway.move(SECOND)
    assert gateway.node.hw == 1


async def test_a_follower_answers_with_the_leader() -> None:
    """Post to a follower: 421 with the leader, not written; with redirect=1 307."""
    gateway = WorldGateway(cluster(), "n2")

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json=records_of("a"))
        body = await problem(answer, 421, "NOT_LEADER_OR_FOLLOWER")
        assert body["error_code"] == 6
        assert body["leader"] == {"id": "n1", "url": url("n1")}
        assert body["leader_epoch"] == 1
        assert body["high_watermark"] == 0
        assert body["outcome"] == "not_written"
        assert body["retriable"] is True
        assert url("n1") in body["detail"]
        assert "Retry-After" not in answer.headers
        moved = await client.post(
            "/produce?redirect=1", json=records_of("a"), allow_redirects=False
        )
        assert moved.status == 307
        assert moved.headers["Location"] == f"{url('n1')}/produce?redirect=1"
        stays = await client.post("/v1/records?redirect=0", json=records_of("a"))
        await problem(stays, 421, "NOT_LEADER_OR_FOLLOWER")
    gateway.move(SECOND)
    assert gateway.node.log.leo == 0


async def test_without_a_leader_the_answer_has_retry_after() -> None:
    """Post to a broker that cannot reach the store at its start: 503, no leader."""
    world = cluster()
    world.crash("n2")
    world.held["n2", STORE] = None
    world.start("n2")
    gateway = WorldGateway(world, "n2")

    async with serving(gateway) as client:
        answer = await client.post("/v1/records?redirect=1", json=records_of("a"))
        body = await problem(answer, 503, "NOT_LEADER_OR_FOLLOWER")
        assert body["leader"] is None
        assert body["outcome"] == "not_written"
        assert answer.headers["Retry-After"] == "1"


async def test_too_few_replicas_after_and_before_the_append() -> None:
    """Post while the ISR shrinks to the leader: unknown; later posts are not written."""
    world = cluster()
    world.crash("n2")
    world.crash("n3")
    gateway = WorldGateway(world)

    async with serving(gateway) as client:
        posted = asyncio.create_task(client.post("/v1/records", json=records_of("a")))
        await gateway.waits.wait()
        gateway.move(20 * SECOND, lambda: isr(world) == ("n1",))
        answer = await posted
        body = await problem(answer, 503, "NOT_ENOUGH_REPLICAS_AFTER_APPEND")
        assert body["outcome"] == "unknown"
        assert "Retry-After" not in answer.headers
        answer = await client.post("/v1/records", json=records_of("b"))
        body = await problem(answer, 503, "NOT_ENOUGH_REPLICAS")
        assert body["outcome"] == "not_written"
        assert body["retriable"] is True
        assert "1, need 2" in body["detail"]
        assert answer.headers["Retry-After"] == "1"
    assert gateway.node.log.leo == 1


async def test_a_timeout_is_unknown_and_not_retriable(gateway: WorldGateway) -> None:
    """Post without acknowledgements: 504, unknown, no Retry-After; the record commits later."""
    world = gateway.world
    for peer in ("n2", "n3"):
        world.held["n1", peer] = None

    async with serving(gateway) as client:
        body = {**records_of("a"), "timeout_ms": 100}
        posted = asyncio.create_task(client.post("/v1/records", json=body))
        await gateway.waits.wait()
        gateway.move(SECOND // 5)
        answer = await posted
        found = await problem(answer, 504, "REQUEST_TIMED_OUT")
        assert found["outcome"] == "unknown"
        assert "may or may not" in found["detail"]
        assert "Retry-After" not in answer.headers
    world.held.clear()
    gateway.move(SECOND)
    assert gateway.node.hw == 1


async def test_a_stopping_leader_answers_waiting_requests_unknown() -> None:
    """Stop or crash the leader while a record waits: 503 and unknown, never 421."""
    for crash in (False, True):
        gateway = WorldGateway(cluster())
        world = gateway.world
        for peer in ("n2", "n3"):
            world.held["n1", peer] = None
        error = "NETWORK_EXCEPTION" if crash else "NOT_LEADER_OR_FOLLOWER"
        await _stopped_while_waiting(gateway, crash, error)


async def _stopped_while_waiting(gateway: WorldGateway, crash: bool, error: str) -> None:
    async with serving(gateway) as client:
        posted = asyncio.create_task(client.post("/v1/records?redirect=1", json=records_of("a")))
        await gateway.waits.wait()
        if crash:
            gateway.world.crash("n1")
        else:
            gateway.world.request_stop("n1", SECOND)
        gateway.move()
        answer = await posted
        body = await problem(answer, 503, error)
        assert body["outcome"] == "unknown"
        assert "may or may not" in body["detail"]
        assert "Retry-After" not in answer.headers


async def test_a_broker_without_a_node_writes_nothing(gateway: WorldGateway) -> None:
    """Post to a process whose node is down: 503, not written, retriable."""
    gateway.world.crash("n1")
    gateway.phase = Phase.STARTING

    async with serving(gateway) as client:
        answer = await client.post("/v1/records", json=records_of("a"))
        body = await problem(answer, 503, "NETWORK_EXCEPTION")
        assert body["outcome"] == "not_written"
        assert "starting" in body["detail"]
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("length", [FULL, FULL + 1])
async def test_the_limit_of_a_batch_is_exact(length: int, gateway: WorldGateway) -> None:
    """Post a record that fills a batch of 1000 bytes, then one byte more: 200, then 413."""

    async with serving(gateway, batch_bytes_max=1000) as client:
        answer = await client.post("/v1/records", json=records_of("x" * length))
        if length == FULL:
            assert answer.status == 200, await answer.text()
            return
        body = await problem(answer, 413, "MESSAGE_TOO_LARGE")
        assert body["outcome"] == "not_written"
        assert "1000 bytes" in body["detail"]


async def test_records_that_do_not_fit_together_are_refused_together(gateway: WorldGateway) -> None:
    """Post more than a batch holds: 413 with the number of the record, none is written."""

    async with serving(gateway, batch_bytes_max=1000) as client:
        answer = await client.post("/v1/records", json=records_of(*["x" * 400] * 3))
        body = await problem(answer, 413, "MESSAGE_TOO_LARGE")
        assert "record 2 of 3" in body["detail"]
    assert gateway.node.log.leo == 0


async def test_the_node_checks_the_size_too(gateway: WorldGateway) -> None:
    """Set a higher limit at the endpoint: the node's 413 is returned."""

    async with serving(gateway, batch_bytes_max=4 << 20) as client:
        body = BytesIO(json.dumps(records_of("x" * (1 << 20))).encode())
        answer = await client.post("/v1/records", data=body, headers=JSON)
        found = await problem(answer, 413, "MESSAGE_TOO_LARGE")
        assert found["outcome"] == "not_written"
        assert "1048576" in found["detail"]


async def test_a_disconnected_client_cancels_its_call(gateway: WorldGateway) -> None:
    """Close the connection of a waiting produce: the call is cancelled, the record stays."""
    world = gateway.world
    for peer in ("n2", "n3"):
        world.held["n1", peer] = None

    async with serving(gateway) as client:
        posted = asyncio.create_task(client.post("/v1/records", json=records_of("a")))
        await gateway.waits.wait()
        posted.cancel()
        await gateway.left.wait()
        assert len(gateway.node.writers.awaiting_commit) == 0
    world.held.clear()
    gateway.move(SECOND)
    assert gateway.node.hw == 1
