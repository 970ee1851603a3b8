"""Old trace files stay readable: a sample of each schema, kept in tests/golden_formats.

A sample is never changed. When a type of the core grows, the new field has a default or the schema
grows with it, and a new sample comes beside the old one.
"""

from __future__ import annotations

from pathlib import Path

from tests.core.trace_samples import short_trace
from yak_core.contract.effects import AppendLog
from yak_core.contract.events import Received, Started
from yak_core.trace.reader import decode_trace, digest_of, digest_of_file
from yak_core.trace.recorder import Fault, Header

SAMPLE = Path(__file__).parents[1] / "golden_formats" / "trace_1.jsonl"


def test_schema_1_is_read() -> None:
    """Goal: yesterday's traces open tomorrow. Method: the values that went into the sample."""
    with SAMPLE.open("rb") as lines:
        trace = decode_trace(lines)
    assert trace.header == Header("sim", "made_up", 7, "0.1.0")
    assert len(trace) == 12
    assert trace.faults == (
        Fault(41, "slow_link", "n1>n3", 1_000, (("delay_us", 5_000), ("why", "x"))),
        Fault(95, "crash", "n1", None),
    )
    first = trace.step(0).event
    assert isinstance(first, Started)
    assert first.config == short_trace().step(0).event.config  # type: ignore[union-attr]
    assert first.recovered.saved == (("clean", b"\x00\xff\n"),)
    received = trace.step(8)
    assert (received.t_us, received.node, received.start, received.cause) == (55, "n2", 1, 6)
    assert isinstance(received.event, Received)
    append = received.effects[0]
    assert isinstance(append, AppendLog)
    assert (append.batches[0].end, append.batches[0].crc) == (1, 0xDEADBEEF)


def test_the_digest_of_schema_1_is_computed_as_ever() -> None:
    """Goal: a digest that was written down stays provable. Method: the sample's own."""
    with SAMPLE.open("rb") as lines:
        assert digest_of_file(lines) == "2508994b532f07af249da23c79bcce51"


def test_what_is_written_today_is_still_schema_1() -> None:
    """Goal: a change of the format is noticed. Method: today's text of the same steps."""
    assert digest_of(short_trace()) == "2508994b532f07af249da23c79bcce51", (
        "the text of a trace has changed: is it still schema 1?"
    )
