"""The bytes of the partition state: round trip, canonical form, damage, ancestors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example
from hypothesis import strategies as st

from tests.core.budgets import examples
from yak_core.ids import BrokerEpoch, Epoch
from yak_core.metadata.partition_state import (
    ANCESTORS_MAX,
    NodeEntry,
    PartitionState,
    PartitionStateError,
    Recovery,
    UncleanPolicy,
    decode_partition_state,
    encode_partition_state,
    follows,
)

SAMPLE = PartitionState(
    store_id="s1",
    partition_epoch=3,
    attempt="a-3",
    ancestors=((2, "a-2"), (1, "a-1")),
    leader_epoch=Epoch(1),
    leader="n1",
    leader_broker_epoch=BrokerEpoch(1),
    isr=("n1",),
    elr=("n2",),
    last_known_eligible=(),
    last_leader=None,
    replicas=("n1", "n2", "n3"),
    min_isr=2,
    unclean_policy=UncleanPolicy.NEVER,
    recovery=Recovery.RECOVERED,
    unclean_generation=0,
    nodes=(
        ("n1", NodeEntry(BrokerEpoch(1), True, False, "http://h1:8080", Epoch(-1), -1)),
        ("n2", NodeEntry(BrokerEpoch(2), False, True, "", Epoch(1), 40)),
    ),
)

SAMPLE_BYTES = (
    b'{"ancestors":[[2,"a-2"],[1,"a-1"]],"attempt":"a-3","elr":["n2"],"isr":["n1"],'
    b'"last_known_eligible":[],"last_leader":null,"leader":"n1","leader_epoch":1,'
    b'"leader_incarnation":1,"min_isr":2,"nodes":{"n1":{"clean":true,"draining":false,'
    b'"incarnation":1,"last_epoch":-1,"leo":-1,"url":"http://h1:8080"},"n2":{"clean":false,'
    b'"draining":true,"incarnation":2,"last_epoch":1,"leo":40,"url":""}},'
    b'"recovery":"recovered","replicas":["n1","n2","n3"],"schema":1,"store_id":"s1",'
    b'"unclean_generation":0,"unclean_policy":"never","version":3}'
)

PAIR = replace(
    SAMPLE,
    nodes=(
        SAMPLE.nodes[0],
        ("n2", NodeEntry(BrokerEpoch(2), False, True, "c", Epoch(1), 40, "p", 2)),
    ),
)
PAIR_BYTES = (
    SAMPLE_BYTES.replace(b'"leo":-1,"url"', b'"leo":-1,"peer_url":"","schema_max":1,"url"')
    .replace(b'"leo":40,"url":""', b'"leo":40,"peer_url":"p","schema_max":2,"url":"c"')
    .replace(b'"schema":1', b'"schema":2')
)  # fmt: skip
"""A state that only schema 2 can express."""

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
IDS = WORDS.filter(bool)
COUNTS = st.integers(0, 2**63 - 1)
LIVES = st.integers(1, 2**63 - 1)
ID_TUPLES = st.lists(IDS, max_size=4, unique=True).map(lambda ids: tuple(sorted(ids)))
ENTRIES = st.builds(
    NodeEntry, LIVES, st.booleans(), st.booleans(), WORDS, st.integers(-1, 9), st.integers(-1, 9),
    st.sampled_from(["", "http://p:1"]), st.integers(1, 3),
)  # fmt: skip
RECORDS = st.builds(
    PartitionState,
    store_id=IDS,
    partition_epoch=LIVES,
    attempt=IDS,
    ancestors=st.lists(st.tuples(LIVES, IDS), max_size=ANCESTORS_MAX).map(tuple),
    leader_epoch=COUNTS,
    leader=st.none() | IDS,
    leader_broker_epoch=COUNTS,
    isr=ID_TUPLES,
    elr=ID_TUPLES,
    last_known_eligible=ID_TUPLES,
    last_leader=st.none() | IDS,
    replicas=ID_TUPLES,
    min_isr=LIVES,
    unclean_policy=st.sampled_from(UncleanPolicy),
    recovery=st.sampled_from(Recovery),
    unclean_generation=COUNTS,
    nodes=st.dictionaries(IDS, ENTRIES, max_size=3).map(lambda nodes: tuple(sorted(nodes.items()))),
)


def test_sample_of_schema_1_is_read_and_written_unchanged() -> None:
    assert decode_partition_state(SAMPLE_BYTES) == SAMPLE
    assert encode_partition_state(SAMPLE) == SAMPLE_BYTES


def test_sample_of_schema_2_is_read_and_written_unchanged() -> None:
    assert decode_partition_state(PAIR_BYTES) == PAIR
    assert encode_partition_state(PAIR) == PAIR_BYTES


def test_broker_that_reads_schema_2_is_marked_in_schema_1() -> None:
    """Method: its entry has schema 2 as ``leo``, which older versions keep and do not read."""
    marked = replace(SAMPLE, nodes=(("n1", replace(SAMPLE.nodes[0][1], schema_max=2)),))
    assert b'"last_epoch":-1,"leo":2,"url"' in encode_partition_state(marked)
    assert b'"schema":1' in encode_partition_state(marked)
    assert decode_partition_state(encode_partition_state(marked)) == marked


@pytest.mark.parametrize(
    "data",
    [
        PAIR_BYTES.replace(b'"schema":2', b'"schema":3'),
        PAIR_BYTES.replace(b'"schema":2', b'"schema":0'),
        PAIR_BYTES.replace(b'"schema":2', b'"schema":1'),
        SAMPLE_BYTES.replace(b'"schema":1', b'"schema":2'),
        PAIR_BYTES.replace(b'"p","schema_max":2', b'"","schema_max":1'),
        PAIR_BYTES.replace(b'"schema_max":2', b'"schema_max":0'),
        SAMPLE_BYTES.replace(b'"leo":-1,', b'"leo":-1,"schema_max":2,'),
    ],
)
def test_a_state_in_the_wrong_schema_is_refused(data: bytes) -> None:
    with pytest.raises(PartitionStateError):
        decode_partition_state(data)


@examples(30, 100, RECORDS)
def test_any_record_survives_the_round_trip(state: PartitionState) -> None:
    data = encode_partition_state(state)
    assert decode_partition_state(data) == state
    assert encode_partition_state(decode_partition_state(data)) == data


@examples(30, 100, RECORDS, RECORDS)
@example(SAMPLE, replace(SAMPLE))
@example(SAMPLE, replace(SAMPLE, leader="None"))
@example(replace(SAMPLE, leader=None), replace(SAMPLE, leader="null"))
def test_equal_records_and_only_those_have_equal_bytes(
    one: PartitionState, other: PartitionState
) -> None:
    assert (one == other) == (encode_partition_state(one) == encode_partition_state(other))


def read_or_refuse(data: bytes) -> bool:
    """Return whether the bytes are refused; accepted bytes must be canonical."""
    try:
        state = decode_partition_state(data)
    except PartitionStateError as error:
        assert "partition state" in str(error)
        return True
    assert encode_partition_state(state) == data
    return False


@examples(50, 100, st.binary(max_size=60))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    assert read_or_refuse(data)


@examples(40, 100, RECORDS, st.data())
def test_damage_is_refused_or_is_another_canonical_state(
    state: PartitionState, data: st.DataObject
) -> None:
    intact = encode_partition_state(state)
    at = data.draw(st.integers(0, len(intact) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != intact[at]))
    read_or_refuse(intact[:at] + bytes([byte]) + intact[at + 1 :])
    assert read_or_refuse(intact[:at])
    assert read_or_refuse(intact[:at] + bytes([byte]) * 2 + intact[at:] + b"}")


def test_most_single_byte_changes_of_the_sample_are_refused() -> None:
    refused = sum(
        read_or_refuse(SAMPLE_BYTES[:at] + bytes([SAMPLE_BYTES[at] ^ 1]) + SAMPLE_BYTES[at + 1 :])
        for at in range(len(SAMPLE_BYTES))
    )
    assert refused > len(SAMPLE_BYTES) * 0.9


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        SAMPLE_BYTES.replace(b'"version":3', b'"version":' + b"9" * 5000),
        SAMPLE_BYTES.replace(b'"store_id":"s1"', b'"store_id":"\\ud800"'),
        SAMPLE_BYTES.replace(b'"store_id":"s1"', b'"store_id":"\\u0073\\u0031"'),
        SAMPLE_BYTES.replace(b'"store_id":"s1"', b'"store_id":"s0","store_id":"s1"'),
        SAMPLE_BYTES.replace(b'"schema":1', b'"schema":2'),
        SAMPLE_BYTES.replace(b'"schema":1', b'"schema":1,"spare":0'),
        SAMPLE_BYTES.replace(b'["n1","n2","n3"]', b'["n2","n1","n3"]'),
        SAMPLE_BYTES.replace(b'["n1","n2","n3"]', b'["n1","n1","n3"]'),
        SAMPLE_BYTES.replace(b'["n1","n2","n3"]', b'["","n2","n3"]'),
        SAMPLE_BYTES.replace(b'"n2":{', b'"":{'),
        SAMPLE_BYTES.replace(b'"nodes":{', b'"nodes":{"n0":0,'),
        SAMPLE_BYTES.replace(b'[1,"a-1"]', b"[1]"),
        b"\xef\xbb\xbf" + SAMPLE_BYTES,
        SAMPLE_BYTES + b"\n",
    ],
    ids=lambda data: f"{len(data)}:{data[:12]!r}",
)
def test_crafted_damage_is_refused(data: bytes) -> None:
    assert data != SAMPLE_BYTES
    assert read_or_refuse(data)


WRONG: list[object] = [None, True, -2, 1.5, float("nan"), 2**63, "", "?", [], [0], {}]
RIGHT: dict[str, list[object]] = {
    "leader": [None, "?"],
    "last_leader": [None, "?"],
    "store_id": ["?"],
    "attempt": ["?"],
    "nodes": [{}],
    "ancestors": [[]],
    "isr": [[]],
    "elr": [[]],
    "last_known_eligible": [[]],
    "replicas": [[]],
}


@pytest.mark.parametrize("name", sorted(json.loads(SAMPLE_BYTES)))
def test_field_of_the_wrong_kind_is_refused_by_name(name: str) -> None:
    loaded = json.loads(SAMPLE_BYTES)
    for value in WRONG:
        loaded[name] = value
        data = json.dumps(loaded, sort_keys=True, separators=(",", ":")).encode()
        if value in RIGHT.get(name, []):
            assert not read_or_refuse(data)
        else:
            with pytest.raises(PartitionStateError, match=name):
                decode_partition_state(data)
    del loaded[name]
    with pytest.raises(PartitionStateError, match=name):
        decode_partition_state(json.dumps(loaded).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in json.loads(SAMPLE_BYTES)["nodes"]["n2"]),
        *(("incarnation", 0), ("last_epoch", -2), ("leo", -2), ("leo", 2**63)),
    ],
)
def test_damaged_node_entry_is_refused_by_name(name: str, value: int | None) -> None:
    loaded = json.loads(SAMPLE_BYTES)
    loaded["nodes"]["n2"][name] = value
    with pytest.raises(PartitionStateError, match=rf"(n2|\[1\])\.{name}\b.* is not "):
        decode_partition_state(json.dumps(loaded).encode())


def test_too_many_ancestors_are_refused() -> None:
    lineage = tuple((partition_epoch, "a") for partition_epoch in range(60, 60 - ANCESTORS_MAX, -1))
    kept = replace(SAMPLE, partition_epoch=61, ancestors=lineage)
    assert decode_partition_state(encode_partition_state(kept)) == kept
    with pytest.raises(PartitionStateError, match=r"ancestors.*32"):
        decode_partition_state(
            encode_partition_state(replace(kept, ancestors=(*lineage, (28, "a"))))
        )


def test_text_outside_unicode_cannot_be_encoded() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_partition_state(replace(SAMPLE, store_id="\ud800"))


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ((3, "a-3"), True),
        ((2, "a-2"), True),
        ((1, "a-1"), True),
        ((3, "b-3"), False),
        ((2, "b-2"), False),
        ((4, "a-4"), False),
        ((0, "a-0"), False),
    ],
)
def test_follows_distinguishes_ancestors(stamp: tuple[int, str], expected: bool) -> None:
    """F80 and F81: a lost write shows as a stamp that is not among the ancestors."""
    assert follows(SAMPLE, stamp) is expected


def test_follows_is_undecided_beyond_the_oldest_kept_ancestor() -> None:
    cut = replace(SAMPLE, partition_epoch=9, ancestors=((8, "a-8"), (7, "a-7")))
    assert follows(cut, (7, "a-7")) is True
    assert follows(cut, (7, "b-7")) is False
    assert follows(cut, (6, "a-6")) is None
    assert follows(cut, (6, "b-6")) is None


def test_unknown_nodes_have_broker_epoch_zero() -> None:
    assert SAMPLE.node("n2") == SAMPLE.nodes[1][1]
    assert SAMPLE.node("n3") is None
    assert (SAMPLE.broker_epoch_of("n2"), SAMPLE.broker_epoch_of("n3")) == (2, 0)


def test_min_isr_is_bounded_by_the_number_of_replicas() -> None:
    """F27: one min ISR for all, never above the number of replicas (KAFKA-15583)."""
    assert SAMPLE.effective_min_isr == 2
    assert replace(SAMPLE, min_isr=5).effective_min_isr == 3
