"""The embedded metadata server: the Redis protocol, stop and restart, no leftover thread."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.core.metadata_records import first
from yak_core.ids import BrokerEpoch
from yak_core.metadata.store_calls import Cas, MetaValue, Read, RenewLease, StoreOk, Unknown
from yak_net.metadata.embedded import CONNECTIONS_MAX, REQUEST_BYTES_MAX, EmbeddedMetadata
from yak_net.metadata.redis_store import RedisStore

LONG_US = 30_000_000
PATIENCE_S = 20.0
RECORD = first()


@pytest.fixture
def embedded() -> Iterator[EmbeddedMetadata]:
    with EmbeddedMetadata() as server:
        yield server


def port_of(server: EmbeddedMetadata) -> int:
    return int(server.url.removesuffix("/0").rpartition(":")[2])


def connect(server: EmbeddedMetadata, protocol: int = 2) -> redis.Redis:
    """Return a client with one connection and without retries."""
    return redis.Redis(
        port=port_of(server),
        retry=Retry(NoBackoff(), 0),
        socket_timeout=PATIENCE_S,
        protocol=protocol,
    )


def dial(server: EmbeddedMetadata) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S)


def read_until_end(line: socket.socket) -> bytes:
    """Return all bytes up to the end of the connection."""
    found = b""
    try:
        while data := line.recv(1 << 16):
            found += data
    except ConnectionResetError:
        return found
    return found


# Redis' protocol


def test_an_error_does_not_cost_the_connection(embedded: EmbeddedMetadata) -> None:
    """Goal: the EVAL after a NOSCRIPT works. Method: errors, then a command, on one connection."""
    with dial(embedded) as line:
        line.sendall(b"*3\r\n$7\r\nEVALSHA\r\n$40\r\n" + b"0" * 40 + b"\r\n$1\r\n0\r\n")
        line.sendall(b"*1\r\n$5\r\nLPUSH\r\n*2\r\n$6\r\nSELECT\r\n$1\r\nx\r\n*1\r\n$4\r\nPING\r\n")
        line.shutdown(socket.SHUT_WR)
        noscript, unknown, select, pong = read_until_end(line).split(b"\r\n", 3)
    assert noscript.startswith(b"-NOSCRIPT ")
    assert unknown.startswith(b"-ERR unknown command 'LPUSH'")
    assert select.startswith(b"-ERR ")
    assert pong == b"$4\r\nPONG\r\n"


@pytest.mark.parametrize("protocol", [2, 3])
def test_values_are_binary_and_may_be_large(embedded: EmbeddedMetadata, protocol: int) -> None:
    """Method: write and read all bytes, and more than a socket buffer holds."""
    with connect(embedded, protocol) as client:
        for value in (bytes(range(256)) + b"\r\n\0", b"", bytes(8 << 20)):
            client.hset("h", "field", value)
            assert client.hgetall("h") == {b"field": value}
            assert client.eval("return {ARGV[1], 7, false, {}}", 0, value) == [value, 7, None, []]
        assert client.get("nothing") is None
        assert client.ping()


def test_a_type_error_is_wrongtype(embedded: EmbeddedMetadata) -> None:
    with connect(embedded) as client:
        client.set("k", "v")
        with pytest.raises(redis.ResponseError, match=r"^WRONGTYPE "):
            client.hgetall("k")


def test_blocking_commands_are_refused(embedded: EmbeddedMetadata) -> None:
    with connect(embedded) as client:
        with pytest.raises(redis.ResponseError, match="unknown command 'BLPOP'"):
            client.blpop(["list"], 0)
        assert client.ping()


def test_a_client_that_wants_no_replies_gets_none(embedded: EmbeddedMetadata) -> None:
    with dial(embedded) as line:
        line.sendall(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n*1\r\n$4\r\nPING\r\n")
        line.sendall(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n")
        line.shutdown(socket.SHUT_WR)
        assert read_until_end(line) == b"$2\r\nOK\r\n"


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", b"*1\r\n$-5\r\n"])
def test_invalid_protocol_closes_the_connection(embedded: EmbeddedMetadata, words: bytes) -> None:
    with dial(embedded) as line:
        line.sendall(words)
        assert b"PONG" not in read_until_end(line)
    with connect(embedded) as client:
        assert client.ping()


def test_an_endless_request_closes_the_connection(embedded: EmbeddedMetadata) -> None:
    with dial(embedded) as line:
        line.sendall(b"*1\r\n$999999999\r\n")
        with pytest.raises(ConnectionError):
            line.sendall(bytes(16 * REQUEST_BYTES_MAX))


def test_vanished_clients_cause_no_output(
    embedded: EmbeddedMetadata, capfd: pytest.CaptureFixture[str]
) -> None:
    """Method: many disconnect inside a request or before their reply; nothing is printed."""
    for turn in range(60):
        with dial(embedded) as line:
            if turn % 3 == 0:
                line.sendall(b"*2\r\n$4\r\nEV")
            if turn % 3 == 1:
                line.sendall(b"*1\r\n$4\r\nPING\r\n" * 500)
            # With this option close() resets the connection.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with connect(embedded) as client:
        assert client.ping()
    embedded.stop()
    assert capfd.readouterr() == ("", "")


# Start and stop


def test_a_stopped_server_leaves_no_thread_and_no_connection() -> None:
    """Method: stop with open connections, some of them just accepted."""
    before = threading.active_count()
    for _ in range(5):
        embedded = EmbeddedMetadata()
        embedded.start()
        lines = [dial(embedded) for _ in range(20)]
        lines[0].sendall(b"*1\r\n$4\r\nPING\r\n")
        assert lines[0].recv(100) == b"$4\r\nPONG\r\n"
        embedded.stop()
        assert threading.active_count() == before
        for line in lines:
            assert read_until_end(line) == b""
            line.close()
        with pytest.raises(ConnectionRefusedError):
            dial(embedded)
        embedded.stop()


def test_a_given_port_is_taken_and_a_used_one_is_an_error(embedded: EmbeddedMetadata) -> None:
    before = threading.active_count()
    second = EmbeddedMetadata(port_of(embedded))
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert threading.active_count() == before
    embedded.stop()
    with EmbeddedMetadata(port_of(embedded)) as third:
        assert third.url == embedded.url


async def test_down_closes_connections_and_up_accepts_them(embedded: EmbeddedMetadata) -> None:
    store = RedisStore(embedded.url, "c", LONG_US)
    held = StoreOk(MetaValue(RECORD, False, ()))
    assert await store.call(Cas(None, RECORD, None)) == held
    for _ in range(3):
        embedded.down()
        embedded.down()
        assert await store.call(Read()) == Unknown()
        assert await store.call(Read()) == Unknown()
        assert "reached" in store.problem
        embedded.up()
        embedded.up()
        assert await store.call(Read()) == held
    await store.close()


def test_forget_loses_the_data_and_the_scripts(embedded: EmbeddedMetadata) -> None:
    """Method: with the server up, and while it is down."""

    async def main() -> None:
        store = RedisStore(embedded.url, "c", LONG_US)
        for down in (False, True):
            assert isinstance(await store.call(Cas(None, RECORD, None)), StoreOk)
            if down:
                embedded.down()
            embedded.delete_all()
            if down:
                embedded.up()
            outcome = await store.call(Read())
            if outcome == Unknown():  # The client had not yet seen the end of the connection.
                outcome = await store.call(Read())
            assert outcome == StoreOk(MetaValue(None, False, ()))
        await store.close()

    asyncio.run(main())
    with connect(embedded) as client:
        embedded.delete_all()
        with pytest.raises(redis.exceptions.NoScriptError):
            client.evalsha("0" * 40, 0)


# Long runs


@pytest.mark.long
def test_thousands_of_calls_and_hundreds_of_connections_leave_no_memory(
    embedded: EmbeddedMetadata,
) -> None:
    """Method: compare the memory after minutes of lease renewals with that after seconds."""

    async def beats(store: RedisStore, count: int) -> None:
        for _ in range(count):
            outcome = await store.call(RenewLease("n1", BrokerEpoch(1), None))
            assert isinstance(outcome, StoreOk), store.problem

    async def rounds(count: int) -> int:
        store = RedisStore(embedded.url, "c", LONG_US)
        await beats(store, 10 * count)
        await store.close()
        for _ in range(count):
            brief = RedisStore(embedded.url, "c", LONG_US)
            await beats(brief, 1)
            await brief.close()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        asyncio.run(rounds(20))  # allocations that are made once
        first_bytes = asyncio.run(rounds(20))
        last_bytes = asyncio.run(rounds(80))
    finally:
        tracemalloc.stop()
    assert last_bytes - first_bytes < 100_000


async def test_many_connections_at_once_are_served(embedded: EmbeddedMetadata) -> None:
    """Method: 150 connected clients renew leases; each renewal counts once."""

    stores = [RedisStore(embedded.url, "c", LONG_US) for _ in range(150)]
    start = time.monotonic()
    outcomes = await asyncio.gather(
        *(store.call(RenewLease("n1", BrokerEpoch(1), None)) for store in stores)
    )
    assert time.monotonic() - start < PATIENCE_S
    counts = [one.value.renewals_of("n1") for one in outcomes if isinstance(one, StoreOk)]
    assert sorted(counts) == list(range(1, 151))
    await asyncio.gather(*(store.close() for store in stores))


# Connections


def test_idle_connections_are_closed_at_the_maximum() -> None:
    """Goal: idle ones cost at most the maximum; clients keep theirs, new ones are served.

    Method: a client, three times the maximum of unused connections, a second client; then the
    maximum of clients, of which the one that is idle for longest makes room.
    """
    problems: list[str] = []
    ping, pong = b"*1\r\n$4\r\nPING\r\n", b"$4\r\nPONG\r\n"

    def call(line: socket.socket) -> socket.socket:
        line.sendall(ping)
        assert line.recv(100) == pong
        return line

    with EmbeddedMetadata(on_problem=problems.append) as server, ExitStack() as opened:
        server.connections_max = 8

        def opened_line() -> socket.socket:
            return opened.enter_context(dial(server))

        client = call(opened_line())
        unused = [opened_line() for _ in range(3 * 8)]
        second = call(opened_line())
        assert [read_until_end(line) for line in unused[:18]] == [b""] * 18
        call(client)
        others = [call(opened_line()) for _ in range(6)]
        assert [read_until_end(line) for line in unused[18:]] == [b""] * 6
        call(opened_line())
        assert read_until_end(second) == b""
        for line in (client, *others):
            call(line)
    (problem,) = problems
    assert "8 connections" in problem
    assert str(port_of(server)) in problem


def test_maximum_of_connections_leaves_descriptors() -> None:
    """Goal: a process with few descriptors does not spend them on connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = EmbeddedMetadata()
        assert server.connections_max == 64
        server.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with EmbeddedMetadata() as server:
        assert server.connections_max <= CONNECTIONS_MAX
