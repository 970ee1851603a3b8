"""The WebSockets of a broker: greeting, refused peers, and protocol errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import pytest

from tests.net.brokers import BrokerProcess, brokers, until
from tests.net.storage_tools import batch
from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    FetchRequest,
    FetchResponse,
    ProduceRequest,
    ProduceResponse,
    ReplicateAck,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.wire.codec import decode, encode
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.runtime.wire import CLIENT_PATH, CLUSTER_HEADER, NODE_HEADER, PEER_PATH

SECOND = 1_000_000
Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Yield a single broker whose configuration has an absent peer."""
    folder = tmp_path_factory.mktemp("broker")
    with EmbeddedMetadata() as metadata, brokers() as start:
        one = start(
            folder / "log",
            "--listen", "127.0.0.1:0", "--redis", metadata.url, "--data-dir", str(folder / "data"),
            "--brokers", "n1=127.0.0.1:1,n2=127.0.0.1:1", "--min-isr", "1",
        )  # fmt: skip
        until(lambda: one.health().get("ready"), f"the broker is ready: {one.output}")
        yield one


def connected(
    broker: BrokerProcess,
    path: str,
    talk: Callable[[Socket], Awaitable[object]],
    headers: dict[str, str] | None = None,
) -> object:
    """Open a WebSocket, read the greeting, and run ``talk``."""

    async def run() -> object:
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession() as session,
            session.ws_connect(broker.url + path, headers=headers, max_msg_size=1 << 25) as socket,
        ):
            assert json.loads(await socket.receive_str()) == {
                "yak": 1,
                "node": "n1",
                "cluster": "yak",
            }
            return await talk(socket)

    return asyncio.run(run())


async def asked(socket: Socket, *frames: bytes) -> list[object]:
    """Send frames at once and return as many answers."""
    for frame in frames:
        await socket.send_bytes(frame)
    return [decode(await socket.receive_bytes()) for _ in frames]


async def ended(socket: Socket) -> tuple[int | None, str]:
    """Wait for the end of the connection; return its code and reason."""
    frame = await socket.receive()
    assert frame.type is aiohttp.WSMsgType.CLOSE
    return (socket.close_code, str(frame.extra))


def produce(number: int, data: bytes = b"") -> bytes:
    """Return a request with one sealed batch, or with other bytes in its place."""
    frame = encode(ProduceRequest(number, Epoch(-1), -1, 5 * SECOND, batch(0, -1)))
    return frame if not data else frame[: -len(data)] + data


def test_requests_are_pipelined(broker: BrokerProcess) -> None:
    """Goal: many requests at once, each with an answer of its correlation id."""

    async def talk(socket: Socket) -> None:
        frames = [produce(number) for number in range(50)]
        answers = await asked(socket, *frames)
        assert all(isinstance(each, ProduceResponse) for each in answers)
        assert sorted(each.correlation for each in answers) == list(range(50))  # type: ignore[attr-defined]
        assert {each.outcome for each in answers} == {Outcome.WRITTEN}  # type: ignore[attr-defined]
        [described] = await asked(socket, encode(DescribeRequest(7)))
        assert isinstance(described, DescribeResponse)
        assert (described.node, described.leader, described.leo) == ("n1", "n1", 50)
        [fetched] = await asked(
            socket, encode(FetchRequest(8, 40, Epoch(-1), Epoch(-1), 1 << 20, 0))
        )
        assert isinstance(fetched, FetchResponse)
        assert [each.base_offset for each in fetched.batches] == list(range(40, 50))

    connected(broker, CLIENT_PATH, talk)


def test_damaged_batch_is_refused_and_the_connection_stays_open(broker: BrokerProcess) -> None:
    """Goal: a batch damaged in transit is not written; other requests are not affected."""

    async def talk(socket: Socket) -> None:
        [answer] = await asked(socket, produce(3, data=b"?"))
        assert isinstance(answer, ProduceResponse)
        assert (answer.correlation, answer.error) == (3, ErrorCode.CORRUPT_MESSAGE)
        assert answer.outcome is Outcome.NOT_WRITTEN
        [described] = await asked(socket, encode(DescribeRequest(4)))
        assert isinstance(described, DescribeResponse)

    connected(broker, CLIENT_PATH, talk)


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff\x01", b"\x10\x01short", encode(ReplicateAck(Epoch(1), BrokerEpoch(1), 1, 1))],
)
def test_invalid_request_closes_the_connection(broker: BrokerProcess, frame: bytes) -> None:
    """Method: random bytes and a message of peers; the broker keeps running."""

    async def talk(socket: Socket) -> object:
        await socket.send_bytes(frame)
        return await ended(socket)

    assert str(connected(broker, CLIENT_PATH, talk)).startswith("(1002, ")
    assert broker.health()["ready"]


def test_text_closes_the_connection(broker: BrokerProcess) -> None:
    """Goal: requests are binary; a text frame closes the connection with a reason."""

    async def talk(socket: Socket) -> object:
        await socket.send_str("hello")
        return await ended(socket)

    assert str(connected(broker, CLIENT_PATH, talk)).startswith("(1003, ")


def test_only_peers_of_the_cluster_are_accepted(broker: BrokerProcess) -> None:
    """Goal: an unknown node, another cluster's broker and a web page get 403."""

    async def nothing(_: Socket) -> None:
        return None

    peer = {NODE_HEADER: "n2", CLUSTER_HEADER: "yak"}
    connected(broker, PEER_PATH, nothing, peer)
    for wrong in ({NODE_HEADER: "n9"}, {CLUSTER_HEADER: "other"}, {"Origin": "http://evil"}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            connected(broker, PEER_PATH, nothing, {**peer, **wrong})
        assert refused.value.status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        connected(broker, CLIENT_PATH, nothing, {"Origin": "http://evil"})
    assert refused.value.status == 403


def test_disconnected_reader_leaves_no_poll(broker: BrokerProcess) -> None:
    """Goal: the long polls of a closed connection are dropped, a thousand at once too."""

    async def talk(socket: Socket) -> None:
        [described] = await asked(socket, encode(DescribeRequest(1)))
        assert isinstance(described, DescribeResponse)
        for number in range(1000):
            poll = FetchRequest(number, described.leo, Epoch(-1), Epoch(-1), 1 << 20, 30 * SECOND)
            await socket.send_bytes(encode(poll))

    for _ in range(5):  # five thousand polls: more than may wait at once
        connected(broker, CLIENT_PATH, talk)

    async def still_waits(socket: Socket) -> None:
        [described] = await asked(socket, encode(DescribeRequest(1)))
        assert isinstance(described, DescribeResponse)
        await socket.send_bytes(
            encode(FetchRequest(1, described.leo, Epoch(-1), Epoch(-1), 1 << 20, 10 * SECOND))
        )
        await socket.send_bytes(produce(2))
        answers = [decode(await socket.receive_bytes()) for _ in range(2)]
        fetched = next(each for each in answers if isinstance(each, FetchResponse))
        assert [each.base_offset for each in fetched.batches] == [described.leo]

    connected(broker, CLIENT_PATH, still_waits)


def test_log_has_refused_peers(broker: BrokerProcess) -> None:
    """Goal: the log has the reason at once if no start explains it: another cluster."""
    stranger = {NODE_HEADER: "n7", CLUSTER_HEADER: "other"}
    with pytest.raises(aiohttp.WSServerHandshakeError):
        connected(broker, PEER_PATH, lambda socket: asyncio.sleep(0), stranger)
    broker.wait_for_log("rejected n7")
