"""GET /v1/records/stream with a real broker in a manual world: order, resumption, ends, limits."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.http_tools import WorldGateway, problem, serving, url
from tests.net.sse_tools import Events
from tests.net.test_http_fetch import append, compressed, write
from yak_core.contract.events import Received
from yak_core.contract.messages import Fenced
from yak_core.ids import Epoch
from yak_net.http import record_stream
from yak_net.http.gateway import Phase

PATH = "/v1/records/stream"


async def test_records_come_as_they_are_committed(gateway: WorldGateway) -> None:
    """Method: two records before the request, one after it; the ids are the offsets."""
    write(gateway, b"a", b"\xff")
    async with serving(gateway) as client:
        answer = await client.get(PATH)
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        events = Events(answer)
        first, second = await events.take(2)
        assert (first.name, first.id, first.data["offset"]) == ("message", "0", 0)
        assert first.data == {
            "offset": 0, "epoch": 1, "timestamp_ms": 7, "key": "k", "value": "a",
        }  # fmt: skip
        assert (second.id, second.data["value_b64"]) == ("1", "/w==")
        await gateway.waits.wait()
        write(gateway, b"c")
        (third,) = await events.take(1)
        assert (third.id, third.data["value"]) == ("2", "c")
        answer.close()
        await gateway.left.wait()


@pytest.mark.parametrize(
    ("query", "last", "expected"),
    [("", "", "0"), ("?offset=2", "", "2"), ("?offset=earliest", "", "0"), ("?offset=0", "1", "2")],
)
async def test_a_stream_begins_where_it_is_asked_to(
    gateway: WorldGateway, query: str, last: str, expected: str
) -> None:
    """Goal: the header Last-Event-ID wins, so a browser that connects again continues."""
    write(gateway, b"a", b"b", b"c")
    async with serving(gateway) as client:
        headers = {"Last-Event-ID": last} if last else {}
        answer = await client.get(PATH + query, headers=headers)
        (event,) = await Events(answer).take(1)
        assert event.id == expected
        answer.close()


async def test_latest_begins_at_the_high_watermark(gateway: WorldGateway) -> None:
    """Method: one record before the request, one after it."""
    write(gateway, b"a")
    async with serving(gateway) as client:
        answer = await client.get(f"{PATH}?offset=latest")
        await gateway.waits.wait()
        write(gateway, b"b")
        (event,) = await Events(answer).take(1)
        assert (event.id, event.data["value"]) == ("1", "b")
        answer.close()


@pytest.mark.parametrize("last", ["x", "-1", "9" * 19, "1.0", "\u0663"])
async def test_a_malformed_last_event_id_is_refused(gateway: WorldGateway, last: str) -> None:
    """Goal: a problem, and no stream that begins elsewhere."""
    async with serving(gateway) as client:
        answer = await client.get(PATH, headers={"Last-Event-ID": last})
        await problem(answer, 400, "INVALID_REQUEST")


async def test_errors_before_the_first_event_are_problems(gateway: WorldGateway) -> None:
    """Method: an offset above the log end, unknown parameters, a follower, HEAD."""
    async with serving(gateway) as client:
        body = await problem(await client.get(f"{PATH}?offset=5"), 416, "OFFSET_OUT_OF_RANGE")
        assert body["log_start_offset"] == 0
        await problem(await client.get(f"{PATH}?offset=x"), 400, "INVALID_REQUEST")
        await problem(await client.get(f"{PATH}?wait_ms=1"), 400, "INVALID_REQUEST")
        head = await client.head(PATH)
        assert head.status == 405
    async with serving(WorldGateway(gateway.world, "n2")) as client:
        body = await problem(await client.get(PATH), 421, "NOT_LEADER_OR_FOLLOWER")
        assert body["leader"] == {"id": "n1", "url": url("n1")}


async def test_records_without_a_json_form_are_named(gateway: WorldGateway) -> None:
    """Goal: a stream goes on after compressed records, and says which they are."""
    write(gateway, b"a")
    append(gateway, compressed())
    write(gateway, b"d")
    async with serving(gateway) as client:
        answer = await client.get(PATH)
        first, second, third = await Events(answer).take(3)
        assert (first.id, third.id, third.data["value"]) == ("0", "3", "d")
        assert (second.name, second.id) == ("skipped", "2")
        assert (second.data["offset"], second.data["next_offset"]) == (1, 3)
        assert second.data["compressed"] is True
        answer.close()


async def test_a_stream_ends_with_the_new_leader(gateway: WorldGateway) -> None:
    """Method: the leader is fenced while the stream waits; it learns of the new leader later."""
    write(gateway, b"a")
    async with serving(gateway) as client:
        answer = await client.get(PATH)
        events = Events(answer)
        await events.take(1)
        await gateway.waits.wait()
        gateway.world.backend("n1").deliver(Received("n2", Fenced(Epoch(2), "n2")))
        gateway.move()
        event = await events.next()
        assert event is not None
        assert event.name == "leader"
        assert event.data["leader"] == {"id": "n2", "url": url("n2")}
        assert (event.data["leader_epoch"], event.data["next_offset"]) == (2, 1)
        assert event.data["url"] == f"{url('n2')}/v1/records/stream?offset=1"
        assert event.id == "", "the id stays that of the last record"
        assert await events.next() is None


async def test_a_stream_ends_without_a_leader_if_none_becomes_known(
    gateway: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the leader is fenced by a broker that does not know the leader either."""
    monkeypatch.setattr(record_stream, "LEADER_WAIT_S", 0.1)
    write(gateway, b"a")
    async with serving(gateway) as client:
        events = Events(await client.get(PATH))
        await events.take(1)
        await gateway.waits.wait()
        gateway.world.backend("n1").deliver(Received("n2", Fenced(Epoch(2), None)))
        for other in ("n2", "n3"):
            gateway.world.crash(other)
        gateway.move()
        event = await events.next()
        assert event is not None
        assert (event.name, event.data["leader"], event.data["url"]) == ("leader", None, None)


async def test_a_stream_ends_when_the_broker_stops(gateway: WorldGateway) -> None:
    """Goal: the client learns that it is the broker, and where to continue."""
    write(gateway, b"a")
    async with serving(gateway) as client:
        events = Events(await client.get(PATH))
        await events.take(1)
        await gateway.waits.wait()
        gateway.phase = Phase.STOPPING
        gateway.world.crash("n1")
        gateway.move()
        event = await events.next()
        assert event is not None
        assert (event.name, event.data["error"]) == ("end", "NETWORK_EXCEPTION")
        assert (event.data["retriable"], event.data["next_offset"]) == (True, 1)
        assert await events.next() is None


async def test_an_idle_stream_has_heartbeats(
    gateway: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: neither side waits for a dead peer. Method: the poll of the broker expires."""
    monkeypatch.setattr(record_stream, "PAUSE_S", 0.0)
    async with serving(gateway) as client:
        events = Events(await client.get(PATH))
        for _ in range(2):
            await gateway.waits.wait()
            gateway.waits.clear()
            gateway.move(record_stream.HEARTBEAT_MS * 1_000 + 1)
        await gateway.waits.wait()
        write(gateway, b"a")
        await events.take(1)
        assert events.comments == 2


async def test_streams_have_a_maximum(
    gateway: WorldGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: 503 above the maximum, and a closed stream makes room."""
    monkeypatch.setattr("yak_net.http.routes.STREAMS_MAX", 1)
    write(gateway, b"a")
    async with serving(gateway) as client:
        first = await client.get(PATH)
        await Events(first).take(1)
        body = await problem(await client.get(PATH), 503, "THROTTLING_QUOTA_EXCEEDED")
        assert body["retriable"] is True
        first.close()
        await gateway.left.wait()
        again = await client.get(PATH)
        assert again.status == 200
        again.close()


async def test_a_slow_client_slows_its_stream_only(gateway: WorldGateway) -> None:
    """Goal: the broker fetches no more than the client takes. Method: a client that reads nothing.

    16 MiB are committed; the sockets between the two hold less.
    """
    value = b"x" * 250_000
    for _ in range(64):
        write(gateway, value)
    asked = []
    ask = gateway.ask

    async def counted(request: object) -> object:
        asked.append(request)
        return await ask(request)  # type: ignore[arg-type]

    gateway.ask = counted  # type: ignore[assignment, method-assign]
    async with serving(gateway) as client:
        answer = await client.get(PATH)
        quiet = 0
        while quiet < 20:
            before = len(asked)
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if len(asked) == before else 0
        assert len(asked) < 60
        events = await Events(answer).take(64)
        assert [event.id for event in events] == [str(offset) for offset in range(64)]
        answer.close()
