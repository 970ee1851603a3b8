"""A broker, and ``yak produce`` and ``yak consume``, as processes that always end."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.net.brokers import CLEAN, ROOT, YAK, BrokerProcess, brokers
from tests.net.forked import Forked
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.producer import Producer
from yak_net.metadata.embedded import EmbeddedMetadata

PATIENCE_S = 30.0


@contextmanager
def one_broker(folder: Path, **given: Any) -> Iterator[BrokerProcess]:
    """Yield a cluster of one ready broker, with the metadata store in this process.

    ``given`` are arguments of BrokerProcess.
    """
    metadata = EmbeddedMetadata()
    try:
        with brokers() as start:
            words = ("--listen", "127.0.0.1:0", "--redis", metadata.start())
            broker = start(folder / "log", *words, "--data-dir", str(folder / "data"), **given)
            broker.wait_until_ready()
            yield broker
    finally:
        metadata.stop()


def yak(
    *words: str, stdin: bytes = b"", env: dict[str, str] | None = None, fresh: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end: started as a user does if ``fresh``, forked otherwise."""
    env = {**CLEAN, **(env or {})}
    if fresh:
        return subprocess.run(
            [*YAK, *words], input=stdin, cwd=ROOT, env=env, capture_output=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    with running(*words, env=env) as process:
        out, err = process.communicate(stdin)
        return subprocess.CompletedProcess(words, process.wait(), out, err)


@contextmanager
def running(*words: str, env: dict[str, str] = CLEAN, **given: Any) -> Iterator[Forked]:
    """A command that runs in the block, with pipes by default; it is killed at the end."""
    process = Forked(words, env, **given)
    try:
        yield process
    finally:
        process.close()


def send(server: str, *values: bytes) -> int:
    """Send records from this process, which is faster; return the offset of the first."""

    async def work() -> int:
        async with asyncio.timeout(PATIENCE_S), Producer(server) as producer:
            sent = [await producer.send(value) for value in values]
        return sent[0].result().offset

    return asyncio.run(work())


def read(server: str, first: int, count: int) -> list[ConsumerRecord]:
    """Read records in this process."""

    async def work() -> list[ConsumerRecord]:
        async with asyncio.timeout(PATIENCE_S), Consumer(server, auto_offset_reset=first) as reader:
            return [await reader.getone() for _ in range(count)]

    return asyncio.run(work())


def values(server: str, first: int, count: int) -> list[bytes | None]:
    """Read the values of records in this process."""
    return [record.value for record in read(server, first, count)]


def numbers(text: bytes) -> list[int]:
    """Return the whole numbers in a message, in order."""
    return [int(digits) for digits in re.findall(rb"\d+", text)]


def first_offset(done: subprocess.CompletedProcess[bytes]) -> int:
    """Return the first offset in the summary of a command, which begins with a count."""
    _, first, *_ = numbers(done.stderr)
    return first

