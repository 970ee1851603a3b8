"""The peer of the cluster benchmark: Redis Streams, a primary and two replicas on loopback.

The client is redis-py with hiredis, in this process. A record is acknowledged when both replicas
have acknowledged it (WAIT 2). Nothing is written to disk. Commands are sent in pipelines without
transactions; each pipeline ends with WAIT.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.procs import Flow, Latencies, Meter
from yak_net.cluster.orphan_guard import OrphanGuard

PROGRAM: Final = "redis-server"
HOST: Final = "127.0.0.1"
REPLICAS: Final = 2
PIPELINE: Final = 500
PIPELINE_BYTES: Final = 512 * 1024
READ_COUNT: Final = 1000
START_S: Final = 20.0
END_S: Final = 5.0
ANSWER_S: Final = 30.0
WAIT_MS: Final = 10_000
PORTS_TRIED: Final = 5
FIELD: Final = b"d"
_BEGINNING: Final = b"0"


class RedisFailed(Exception):
    """A redis-server did not start, or its replicas did not acknowledge."""


def installed() -> bool:
    """Return whether redis-server is on the PATH."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def server(port: int = 0, *options: str) -> Iterator[tuple[int, str]]:
    """Run a server without persistence in a temporary folder; yield its pid and socket URL.

    The server also listens on loopback ``port``, unless ``port`` is 0. Raise RedisFailed.
    """
    with tempfile.TemporaryDirectory(prefix="yak-bench-redis-") as folder:
        path = Path(folder) / "redis.sock"
        command = [PROGRAM, "--port", str(port), "--bind", HOST, "--unixsocket", str(path)]
        command += ["--dir", folder, "--save", "", "--appendonly", "no", *options]
        guard = OrphanGuard()  # kills the server if this process is killed
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            guard.watch(process.pid)
            _wait_for(path, process)
            yield process.pid, f"unix://{path}"
        finally:
            _end(process)
            guard.unwatch(process.pid)
            guard.close()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        # The server binds the port before the socket: with the port in use it has ended already.
        with socket.socket(socket.AF_UNIX) as probe:
            if path.exists() and probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise RedisFailed(f"{PROGRAM} did not start within {START_S:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END_S)


def _free_port() -> int:
    """Return a port that was free just now, because redis-server cannot choose a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _started(stack: ExitStack, *options: str) -> tuple[int, int]:
    """Start a server on TCP and return its pid and port; retry with another port if needed."""
    for _ in range(PORTS_TRIED - 1):
        port = _free_port()
        try:
            return stack.enter_context(server(port, *options))[0], port
        except RedisFailed:
            continue
    port = _free_port()
    return stack.enter_context(server(port, *options))[0], port


class RedisStreams:
    """The running servers of :func:`redis_streams`."""

    def __init__(self, client: Any, pids: tuple[int, ...]) -> None:
        self.pids = pids
        self._client = client

    def wait_for_replicas(self) -> None:
        """Wait until both replicas are connected. Raise RedisFailed."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._client.execute_command("WAIT", REPLICAS, 100) == REPLICAS:
                return
            time.sleep(0.02)
        raise RedisFailed(f"{REPLICAS} replicas did not connect within {START_S:g} s")

    def produce(self, value: bytes, seconds: float, bytes_max: int) -> Flow:
        """Measure XADD for ``seconds``, or until ``bytes_max`` bytes are sent.

        The records stay in the stream for :meth:`read`.
        """
        key = _key(value)
        self._send(key, value, 1)
        sent, count = 0, min(PIPELINE, PIPELINE_BYTES // len(value))
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not sent or (time.perf_counter() < end and sent * len(value) < bytes_max):
            self._send(key, value, count)
            sent += count
        return Flow(sent, len(value), meter.stop())

    def read(self, value: bytes, seconds: float) -> Flow:
        """Measure repeated reads of the records of :meth:`produce`."""
        key, last, read_count = _key(value), _BEGINNING, 0
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not read_count or time.perf_counter() < end:
            found = self._client.xread({key: last}, count=READ_COUNT)
            if not found:
                last = _BEGINNING
                continue
            entries = found[0][1]
            assert entries[0][1][FIELD] == value
            read_count += len(entries)
            last = entries[-1][0]
        return Flow(read_count, len(value), meter.stop())

    def latencies(self, value: bytes, seconds: float) -> Latencies:
        """Measure the latency with one record in flight."""
        self._send("latency", value, 1)
        latencies_s: list[float] = []
        meter = Meter(self.pids)
        end = time.perf_counter() + seconds
        while not latencies_s or time.perf_counter() < end:
            began = time.perf_counter()
            self._send("latency", value, 1)
            latencies_s.append(time.perf_counter() - began)
        return Latencies(tuple(latencies_s), meter.stop())

    def delete(self, value: bytes) -> None:
        """Delete the records of :meth:`produce` to free memory."""
        self._client.delete(_key(value))

    def _send(self, key: str, value: bytes, count: int) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(count):
            pipeline.xadd(key, {FIELD: value})
        pipeline.execute_command("WAIT", REPLICAS, WAIT_MS)
        confirmed = pipeline.execute()[-1]
        if confirmed < REPLICAS:
            acked = f"{confirmed} of {REPLICAS} replicas"
            raise RedisFailed(f"{acked} acknowledged within {WAIT_MS} ms")


def _key(value: bytes) -> str:
    return f"stream-{len(value)}"


@contextmanager
def redis_streams() -> Iterator[RedisStreams]:
    """Run three connected servers. Raise RedisFailed."""
    import redis

    with ExitStack() as stack:
        primary, port = _started(stack)
        replica_options = ("--replicaof", HOST, str(port), "--repl-diskless-sync-delay", "0")
        replicas = [_started(stack, *replica_options)[0] for _ in range(REPLICAS)]
        client = redis.Redis(HOST, port, protocol=2, socket_timeout=ANSWER_S)
        peer = RedisStreams(stack.enter_context(client), (primary, *replicas))
        peer.wait_for_replicas()
        yield peer
