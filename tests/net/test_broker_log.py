"""A broker whose log has no reader, no space, or a paused reader goes on and stops on request."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.net.brokers import BrokerProcess, brokers, get, post, until
from yak_net.cluster.ports import reserve_port
from yak_net.metadata.embedded import EmbeddedMetadata

STOP_S = 5.0
RECORDS = {"records": [{"value": "a"}]}


class Silent:
    """A broker whose log cannot be read: its port is reserved before its start."""

    def __init__(self, after: ExitStack, folder: Path, redis: str, out: IO[bytes]) -> None:
        reserved = after.enter_context(reserve_port())
        self.url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        start = after.enter_context(brokers())
        self.process: BrokerProcess = start(
            folder / "log", "--verbose", "--listen", self.url.removeprefix("http://"),
            "--redis", redis, "--data-dir", str(folder / "data"),
            env={"YAK_REUSE_PORT": "1"}, out=out,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        until(lambda: get(f"{self.url}/health")[0] == 200 or not self.process.up, "ready")
        assert self.process.up, "the broker ended"

    def stop(self) -> None:
        """Send SIGTERM; the broker must stop cleanly within STOP_S."""
        began = time.monotonic()
        self.process.signal(signal.SIGTERM)
        assert self.process.wait_for_end() == 0
        assert time.monotonic() - began < STOP_S


@contextmanager
def output(kind: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield an output for a log and its reading end: ``pipe``, ``nonblocking`` or ``full``."""
    if kind == "full":
        with Path("/dev/full").open("wb") as full, Path(os.devnull).open("rb") as nothing:
            yield full, nothing
        return
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, kind != "nonblocking")
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "wb") as writer:
        yield writer, reader


@pytest.mark.parametrize("kind", ["full", "pipe", "nonblocking"])
def test_log_that_takes_nothing_stops_no_broker(kind: str, tmp_path: Path) -> None:
    """Method: /dev/full, and full pipes whose reader is paused; records, then SIGTERM."""
    with ExitStack() as after, EmbeddedMetadata() as metadata:
        out, _ = after.enter_context(output(kind))
        broker = Silent(after, tmp_path, metadata.url, out)
        broker.wait_until_ready()
        for offset in range(100):  # each of them logs notes, more than a pipe holds
            assert post(f"{broker.url}/produce", RECORDS)[1]["base_offset"] == offset
        broker.stop()


def test_log_reader_that_leaves_stops_no_broker(tmp_path: Path) -> None:
    """Method: read one line and close the pipe, as ``2>&1 | head -1`` does; the store is down."""
    with ExitStack() as after, EmbeddedMetadata() as metadata:
        metadata.down()
        out, reader = after.enter_context(output("pipe"))
        broker = Silent(after, tmp_path, metadata.url, out)
        out.close()
        assert b"listening" in reader.read(4096)
        reader.close()
        until(lambda: get(f"{broker.url}/health")[0] == 503, "a broker without its store")
        metadata.up()
        broker.wait_until_ready()
        assert post(f"{broker.url}/produce", RECORDS)[0] == 200
        broker.stop()


def start_and_stop(after: ExitStack, folder: Path, redis: str, chance: random.Random) -> None:
    """Start a broker; its log reader leaves at a random moment, then it is stopped."""
    out, reader = after.enter_context(output("pipe"))
    broker = Silent(after, folder, redis, out)
    out.close()
    leaves_at = time.monotonic() + chance.uniform(0.0, 0.6)
    reader_fd = reader.fileno()
    os.set_blocking(reader_fd, False)
    ready = False
    while not (ready and reader.closed):
        assert broker.process.up, "the broker halted"
        if not reader.closed and time.monotonic() >= leaves_at:
            reader.close()
        elif not reader.closed:
            reader.read(4096)
        with socket.socket() as probe:
            ready = ready or probe.connect_ex(_address(broker.url)) == 0
        ready = ready and get(f"{broker.url}/health")[0] == 200
    broker.stop()


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.mark.parametrize(
    "count", [5, pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_no_moment_at_which_a_log_reader_leaves_matters(count: int, tmp_path: Path) -> None:
    """Goal: no halt, and a clean stop within STOP_S, whenever the reader of the log leaves."""
    chance = random.Random(count)
    with EmbeddedMetadata() as metadata:
        for number in range(count):
            with ExitStack() as after:
                folder = tmp_path / str(number)
                folder.mkdir()
                cluster = f"{metadata.url.rpartition('/')[0]}/{number % 16}"
                if number % 16 == 0:
                    metadata.delete_all()
                start_and_stop(after, folder, cluster, chance)
