"""Old trace files stay readable: a sample of each schema in tests/golden_formats.

A sample never changes. A new field of a core type has a default, or the schema number grows and a
new sample is added.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.trace_samples import short_trace
from yak_core.contract.effects import AppendLog
from yak_core.contract.events import Received
from yak_core.trace.reader import decode_trace, digest_of, digest_of_file, encode_trace
from yak_core.trace.recorder import Fault, Header
from yak_core.trace.replay import replay_lines
from yak_core.trace.schema_1 import upgraded

FORMATS = Path(__file__).parents[1] / "golden_formats"
DIGESTS = {1: "2508994b532f07af249da23c79bcce51", 2: "f314e9414344b523e95e84ace3d48cf1"}
PRESENT = "0585bace0483b4692cf59884aa2980fc"
"""Digest of the steps of the samples as they are written now: schema 2, with fields added since.

Added: ``Recovered.storage_session``, ``NodeEntry.peer_url`` and ``schema_max``,
``BrokerConfig.peer_url``.
"""


def sample(schema: int) -> list[bytes]:
    """Return the lines of the sample of this schema; all samples have the same steps."""
    return (FORMATS / f"trace_{schema}.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("schema", DIGESTS)
def test_every_schema_is_read(schema: int) -> None:
    """Goal: old traces are readable. Method: compare with the values of the sample."""
    trace = decode_trace(sample(schema))
    assert trace.header == Header("sim", "made_up", 7, "0.1.0")
    assert list(trace) == list(decode_trace(encode_trace(short_trace())))
    assert trace.faults == (
        Fault(41, "slow_link", "n1>n3", 1_000, (("delay_us", 5_000), ("why", "x"))),
        Fault(95, "crash", "n1", None),
    )
    received = trace.step(8)
    assert (received.t_us, received.node, received.start, received.cause) == (55, "n2", 1, 6)
    assert isinstance(received.event, Received)
    append = received.effects[0]
    assert isinstance(append, AppendLog)
    assert (append.batches[0].end, append.batches[0].crc) == (1, 0xDEADBEEF)


@pytest.mark.parametrize(("schema", "digest"), DIGESTS.items())
def test_the_digest_of_every_schema_is_unchanged(schema: int, digest: str) -> None:
    """Goal: old digests can be checked. Method: the digest of each sample."""
    assert digest_of_file(sample(schema)) == digest


def test_traces_are_still_schema_2() -> None:
    """Goal: a change of the format is detected. Method: encode the steps of the sample."""
    assert digest_of(short_trace()) == PRESENT, "the text of a trace changed: new schema?"


def test_schema_1_is_not_replayed() -> None:
    """Goal: no false differences from renamed effects. Method: the sample of schema 1."""
    replay = replay_lines(sample(1))
    assert not replay.identical
    assert replay.starts == ()
    assert "schema 1" in replay.damage
    assert replay_lines(sample(2)).damage == ""


def test_all_names_of_schema_1_are_mapped() -> None:
    """Goal: one table maps all names of schema 1. Method: old names in each position."""
    state = {"version": 3, "leader_incarnation": 2, "nodes": [["n1", {"incarnation": 2}]]}
    old = {
        "inc": 1,
        "ev": {"MetaReply": {"outcome": {"Done": {"value": {"record": state, "beats": []}}}}},
        "fx": [
            {"SetTimer": {"key": "beat"}},
            {"CancelTimer": {"key": "candidacy"}},
            {"SaveState": {"key": "record"}},
            {"Observe": {"note": {"StoreUnknown": {"kind": "beat"}}}},
            {"Observe": {"note": {"StoodForElection": {"epoch": 2}}}},
            {"CallMeta": {"request": {"BeatCall": {"incarnation": 2}}}},
            {"CallMeta": {"request": {"Publish": {"view": []}}}},
        ],
    }
    new_state = {
        "partition_epoch": 3,
        "leader_broker_epoch": 2,
        "nodes": [["n1", {"broker_epoch": 2}]],
    }
    value = {"state": new_state, "renewals": []}
    assert upgraded(old) == {
        "start": 1,
        "ev": {"MetaReply": {"outcome": {"StoreOk": {"value": value}}}},
        "fx": [
            {"SetTimer": {"key": "lease-renewal"}},
            {"CancelTimer": {"key": "campaign"}},
            {"SaveState": {"key": "record"}},
            {"Observe": {"note": {"StoreUnknown": {"kind": "renew"}}}},
            {"Observe": {"note": {"Campaigned": {"epoch": 2}}}},
            {"CallMeta": {"request": {"RenewLease": {"broker_epoch": 2}}}},
            {"CallMeta": {"request": {"Publish": {"status": []}}}},
        ],
    }
    assert upgraded({"DiskDone": {"result": {"Done": {}}}}) == {
        "DiskDone": {"result": {"DiskOk": {}}}
    }
    old_client = {"brokers": ["n1"], "acks": 1, "fetch_wait_us": 9, "start_offset": 0}
    new_client = {"brokers": ["n1"], "acks": 1}
    assert upgraded({"ClientConfig": old_client}) == {"ProducerConfig": new_client}
    old_client["start_offset"] = -2
    new_client = {"brokers": ["n1"], "fetch_wait_us": 9, "start_offset": -2}
    assert upgraded({"ClientConfig": old_client}) == {"ConsumerConfig": new_client}
    assert upgraded({"fault": {"kind": "cut"}}) == {"fault": {"kind": "disconnect"}}
