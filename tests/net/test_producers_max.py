"""A restart forgets the same producers as the broker did: those above ``producers_max``."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.net.brokers import brokers, until
from yak_core.batch import Batch, Builder, seal
from yak_core.contract.messages import ProduceRequest, ProduceResponse, Response
from yak_core.errors import ErrorCode
from yak_core.ids import Epoch, Offset
from yak_net.client.links import Links
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.runtime.settings import BrokerSettings
from yak_net.storage.checkpoints import decode_value

PATIENCE_S = 60.0
IN_FLIGHT = 200
DEFAULT = BrokerSettings("n1").config_value("producers_max")


def one(producer_id: int, sequence: int = 0) -> Batch:
    """Return a batch of one record."""
    builder = Builder()
    builder.append(b"x", timestamp_ms=0)
    return seal(
        builder.build(), producer_id=producer_id, producer_epoch=0, base_sequence=sequence
    )


async def produced(url: str, batches: list[Batch]) -> list[tuple[ErrorCode, Offset]]:
    """Send the batches in order; return (error, base offset) of each."""
    answers: dict[int, tuple[ErrorCode, Offset]] = {}
    changed = asyncio.Event()

    def on_answer(_: str, answer: Response) -> None:
        assert isinstance(answer, ProduceResponse)
        answers[answer.correlation] = (answer.error, answer.base_offset)
        changed.set()

    links = Links(on_answer, lambda _: None, lambda _: None)
    try:
        async with asyncio.timeout(PATIENCE_S):
            found = await links.discover((url,))
            assert found is not None
            for at, batch in enumerate(batches):
                links.send("n1", ProduceRequest(at, Epoch(-1), -1, 30_000_000, batch))
                while len(answers) < at + 1 - IN_FLIGHT:
                    changed.clear()
                    await changed.wait()
            while len(answers) < len(batches):
                changed.clear()
                await changed.wait()
    finally:
        await links.close()
    return [answers[at] for at in range(len(batches))]


def saved_hw(data: Path) -> Offset:
    """Return the saved high watermark of a data directory, 0 if there is none."""
    path = data / "saved" / "hw"
    return int(decode_value("hw", path.read_bytes(), path)) if path.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("limit", "producers"),
    [(2, 4), pytest.param(DEFAULT + 50, DEFAULT + 40, marks=pytest.mark.long)],
)
def test_restart_keeps_the_configured_number_of_producers(
    metadata: EmbeddedMetadata, tmp_path: Path, limit: int, producers: int, how: signal.Signals
) -> None:
    """Goal: a retry gets the same answer before and after a restart, with any limit.

    Method: the oldest producer within the limit is recognised, one beyond the limit is not.
    """
    data = tmp_path / "data"
    words = ["--listen", "127.0.0.1:0", "--redis", metadata.url]
    words += ["--data-dir", str(data), "--config", f"producers_max={limit}"]
    oldest_known = max(0, producers - limit)
    known = [one(oldest_known)]
    forgotten = [one(number, sequence=1) for number in range(oldest_known)]
    with brokers() as start:
        broker = start(tmp_path / "log", *words)
        broker.wait_until_ready()
        sent = asyncio.run(produced(broker.url, [one(number) for number in range(producers)]))
        assert sent == [(ErrorCode.NONE, at) for at in range(producers)]
        for attempt in ("first", "second"):
            answers = asyncio.run(produced(broker.url, known + forgotten))
            assert answers[0] == (ErrorCode.NONE, oldest_known), attempt
            refusals = {error for error, _ in answers[1:]}
            assert refusals <= {ErrorCode.UNKNOWN_PRODUCER_ID}, attempt
            if attempt == "first":
                # Recovery folds the table up to the saved HW; above it, the node does.
                until(lambda: saved_hw(data) >= producers, "the HW is saved")
                broker.signal(how)
                broker.wait_for_end()
                broker = start(tmp_path / "log2", *words)
                broker.wait_until_ready()
