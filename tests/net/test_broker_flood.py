"""A broker with few descriptors serves its producer in a flood of hostile connections."""

from __future__ import annotations

import asyncio
import base64
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.net.brokers import BrokerProcess, brokers, get, post, until
from tests.net.cluster_tools import wait_for
from tests.net.flood import flooding, need_descriptors, open_descriptors, peak_bytes, reset
from yak_core.contract.messages import FetchRequest
from yak_core.ids import Epoch
from yak_core.wire.codec import encode
from yak_net import Consumer, Producer
from yak_net.http.connections import RESERVED
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.runtime.wire import CLIENT_PATH

MEMORY_MAX = 250 << 20
LOG_BYTES_A_MINUTE = 1_000_000
ACK_MAX_S = 10.0


class Limited:
    """A single broker that may open ``files`` files, with ``megabytes`` of records in its log."""

    def __init__(self, process: BrokerProcess, megabytes: int) -> None:
        self.process = process
        process.wait_until_ready()
        self.url = process.url
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.address = (host, int(port))
        for _ in range(megabytes):
            assert post(f"{self.url}/produce", {"records": [{"value": "x" * 1_000_000}]})[0] == 200

    @property
    def pid(self) -> int:
        return self.process.process.pid

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    @property
    def log_bytes(self) -> int:
        return self.process.log.stat().st_size


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Limited]:
    """Start a broker with ``ulimit -n``, which tests share; the parameter is (files, megabytes)."""
    files, megabytes = request.param
    tmp_path = tmp_path_factory.mktemp("limited")
    need_descriptors(4_096)
    with EmbeddedMetadata() as metadata, brokers() as start:
        process = start(
            tmp_path / "log", "--listen", "127.0.0.1:0", "--redis", metadata.url,
            "--data-dir", str(tmp_path / "data"),
            fresh=True, before=("sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"),
        )  # fmt: skip
        yield Limited(process, megabytes)
        assert process.up, process.output
        assert "Traceback" not in process.output


async def produce(broker: Limited, seconds: float, connected: asyncio.Event | None = None) -> int:
    """Send records one after another; return their number. Each must be acknowledged in time."""
    ends_at = time.monotonic() + seconds
    count = 0
    async with Producer(broker.url) as producer:
        while not count or time.monotonic() < ends_at:
            async with asyncio.timeout(ACK_MAX_S):
                sent = await producer.send_and_wait(b"record %d" % count)
            assert sent.offset >= count
            count += 1
            if connected is not None:
                connected.set()
    return count


@pytest.mark.parametrize(
    ("limited", "seconds", "counts"),
    [
        ((384, 8), 2.0, (400, 30, 30)),
        pytest.param(
            (1024, 8), 60.0, (2_000, 200, 200), marks=[pytest.mark.long, pytest.mark.timeout(300)]
        ),
    ],
    indirect=["limited"],
)
def test_flood_does_not_stop_the_producer(
    limited: Limited, seconds: float, counts: tuple[int, int, int]
) -> None:
    """Goal: idle connections, slow readers and half-sent bodies at once; a producer is served.

    Also one that connects during the flood. Memory, log and descriptors stay within their bounds.
    """
    logged_before, began = limited.log_bytes, time.monotonic()
    files = asyncio.run(produced_in_a_flood(limited, seconds, counts))
    minutes = (time.monotonic() - began) / 60
    logged, peak = limited.log_bytes - logged_before, peak_bytes(limited.pid)
    print(f"\n{60 * minutes:.0f} s, {logged} bytes logged, {peak >> 20} MiB, {files} files")
    assert logged < LOG_BYTES_A_MINUTE * minutes
    assert peak < MEMORY_MAX
    assert files <= limited_files(limited)
    until(lambda: limited.process.health().get("status") == "ok", "health after the flood")


async def produced_in_a_flood(
    broker: Limited, seconds: float, counts: tuple[int, int, int]
) -> int:
    """Produce before and during a flood; return the number of open files at its end."""
    connected = asyncio.Event()
    async with asyncio.timeout(60 + 2 * seconds):
        sending = asyncio.create_task(produce(broker, seconds, connected))
        await connected.wait()
        async with flooding(broker.address, *counts):
            assert await produce(broker, seconds / 2) > 0
            assert await sending > 0
            return await asyncio.to_thread(open_descriptors, broker.pid)


def limited_files(broker: Limited) -> int:
    """Return the limit of open files of the broker."""
    text = Path("/proc", str(broker.pid), "limits").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("Max open files")]
    return int(line.split()[3])


@pytest.mark.parametrize(
    "limited", [(384, 8), pytest.param((1024, 8), marks=pytest.mark.long)], indirect=True
)
async def test_idle_connections_leave_descriptors(limited: Limited) -> None:
    """Goal: more idle connections than descriptors; records are written, the disk has its files."""
    files = limited_files(limited)
    async with flooding(limited.address, idle=files + 100):
        assert await produce(limited, 0.5) > 0
        used = await asyncio.to_thread(open_descriptors, limited.pid)
        assert used <= files - RESERVED // 2
        health = await asyncio.to_thread(get, f"{limited.url}/health")
        assert health[0] == 200


@pytest.mark.parametrize("limited", [(1024, 8)], indirect=True)
async def test_no_descriptor_for_a_connection(limited: Limited) -> None:
    """Method: the limit of the running broker falls to the files that it has open, and rises again.

    The producer that is connected is served; new connections wait; the log has a few lines.
    """
    before = limited.log_bytes
    soft, hard = resource.prlimit(limited.pid, resource.RLIMIT_NOFILE)
    async with Producer(limited.url) as producer, asyncio.timeout(50):
        await producer.send_and_wait(b"before")
        resource.prlimit(
            limited.pid, resource.RLIMIT_NOFILE, (open_descriptors(limited.pid), hard)
        )
        with ExitStack() as after:
            for _ in range(50):
                after.enter_context(socket.create_connection(limited.address, timeout=5))
            await wait_for(lambda: "cannot accept" in limited.log[before:], "a lack of them")
            for number in range(100):
                await producer.send_and_wait(b"record %d" % number)
        resource.prlimit(limited.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert await produce(limited, 0.5) > 0
    assert limited.log_bytes - before < 10_000


@pytest.mark.parametrize("limited", [(1024, 8)], indirect=True)
async def test_slow_websocket_readers_are_bounded(limited: Limited) -> None:
    """Goal: clients that request records and do not read them; a consumer is still served."""
    fetch = FetchRequest(1, 0, Epoch(-1), Epoch(-1), 4 << 20, 0)
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        sockets = []
        for _ in range(60):
            socket = await session.ws_connect(limited.url + CLIENT_PATH, autoclose=False)
            await socket.receive()
            for _ in range(4):
                await socket.send_bytes(encode(fetch))
            sockets.append(socket)
        async with Consumer(limited.url, auto_offset_reset="earliest") as consumer:
            for _ in range(8):
                assert len((await consumer.getone()).value or b"") == 1_000_000
        assert await produce(limited, 0.5) > 0
    assert peak_bytes(limited.pid) < MEMORY_MAX


KEY = base64.b64encode(bytes(16))
HANDSHAKE = (
    b"GET /v1/client HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


@pytest.mark.parametrize("limited", [(1024, 8)], indirect=True)
@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.long)])
async def test_garbage_costs_a_few_lines_of_log(limited: Limited, count: int) -> None:
    """Method: resets in the handshake, random frames, and requests that are not HTTP.

    The log has a few lines for them, each of one line, and the number of the others.
    """
    chance = random.Random(1)
    before = limited.log_bytes
    for _ in range(count):
        reset(limited.address, HANDSHAKE)
        reset(limited.address, chance.randbytes(50) + b"\r\n\r\n")
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        for _ in range(count):
            async with session.ws_connect(limited.url + CLIENT_PATH) as socket:
                await socket.receive()
                await socket.send_bytes(chance.randbytes(chance.randrange(100)))
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        for _ in range(count // 3):
            async with session.ws_connect(limited.url + CLIENT_PATH) as socket:
                await socket.receive()
                writer = socket._writer.transport
                assert writer is not None
                writer.write(chance.randbytes(200))  # not even a frame
    assert await produce(limited, 0.5) > 0
    assert limited.log_bytes - before < 100_000
    for text in ("malformed client frame", "malformed request", "more="):
        limited.process.wait_for_log(text)
