"""leader_failover, checked from its trace, disks and history."""

from __future__ import annotations

import pytest

from scenarios.leader_failover import BATCH_BYTES, batch_size
from tests.scenarios.scenario_runs import (
    assert_sound,
    each_seed,
    fault,
    load,
    log_values,
    notes,
    run,
)
from yak_core.contract.notes import BecameLeader, HighWatermarkAdvanced, Truncated
from yak_core.errors import Outcome
from yak_sim import run_scenario, seconds

LINES = [b"line %d" % number for number in range(60)]


@each_seed
def test_every_record_is_in_every_log_once_and_in_order(seed: int) -> None:
    """Goal: retries lose, duplicate and reorder no record. Method: decode the three disks."""
    result = run("leader_failover", seed)
    assert_sound(result)
    for node in result.world.brokers:
        assert log_values(result, node) == LINES
        assert result.world.broker(node).flushed_end == len(LINES)
    assert [read.value for read in result.world.consumers[0].reads] == LINES
    assert [read.offset for read in result.world.consumers[0].reads] == list(range(60))


@each_seed
def test_the_crash_finds_records_of_all_three_kinds(seed: int) -> None:
    """Goal: committed, unreplicated and unflushed records. Method: figures and truncation."""
    result = run("leader_failover", seed)
    old = fault(result, "crash").target
    figures = result.figures
    assert figures["committed_at_crash"] == 30
    assert figures["unreplicated_at_crash"] == 2
    assert figures["unflushed_at_crash"] == 2
    cuts = [
        (node, note.end_before, note.end)
        for _, node, note in notes(result, Truncated)
        if note.end < note.end_before
    ]
    assert cuts == [(old, 32, 30)]
    assert result.goals["crash between append and flush"] == 1


@each_seed
def test_no_unreplicated_record_was_committed(seed: int) -> None:
    """Method: the notes of the old leader, and the reads."""
    result = run("leader_failover", seed)
    crash = fault(result, "crash")
    before = [hw for at, _, hw in notes(result, HighWatermarkAdvanced) if at <= crash.at_us]
    assert max(note.hw for note in before) == 30
    reads = result.world.consumers[0].reads
    assert [read.offset for read in reads if read.at_us <= crash.at_us] == list(range(30))


@each_seed
def test_one_failover_within_the_lease_and_its_stagger(seed: int) -> None:
    """Method: the notes and times of new leaders."""
    result = run("leader_failover", seed)
    crash = fault(result, "crash")
    led = [(at, node, note) for at, node, note in notes(result, BecameLeader)]
    assert [note.epoch for _, _, note in led] == [1, 2]
    assert led[0][1] == crash.target != led[1][1]
    assert led[1][2].epoch_start == 30
    # Lease of 3 s since the last renewal (every 300 ms), a stagger of 200 ms per rank, store calls.
    assert seconds(2.5) < led[1][0] - crash.at_us < seconds(4)


@each_seed
def test_the_producer_got_right_offsets(seed: int) -> None:
    """Goal: offset and epoch of each answer are right. Method: compare with the log."""
    result = run("leader_failover", seed)
    sent = result.world.producers[0].sent
    assert [batch.outcome for batch in sent] == [Outcome.WRITTEN] * 60
    assert [batch.base_offset for batch in sent] == list(range(60))
    assert [batch.epoch for batch in sent] == [1] * 30 + [2] * 30
    crashed_us = fault(result, "crash").at_us
    assert all((batch.resolved_us < crashed_us) == (batch.epoch == 1) for batch in sent)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 200, 201, 1000])
def test_any_number_of_lines_works(count: int) -> None:
    """Method: a run of each size."""
    lines = [b"%d" % number for number in range(count)]
    result = run_scenario(load("leader_failover"), values=lines)
    assert_sound(result)
    assert log_values(result, "n1") == lines
    assert len(result.world.producers[0].sent) <= 200
    figures = result.figures
    assert figures["unreplicated_at_crash"] >= 1
    assert (figures["committed_at_crash"] > 0) == (count > 1)
    assert (figures["unflushed_at_crash"] > 0) == (count > 2)


def test_long_lines_make_small_batches() -> None:
    """Goal: lines that do not fit into one batch are split. Method: sizes around the limit."""
    assert batch_size([b"x"] * 200) == 1
    assert batch_size([b"x"] * 201) == 2
    assert batch_size([b"x"] * 100_000) == 500
    assert batch_size([b"x" * BATCH_BYTES] * 201) == 1
    assert batch_size([b"x" * (BATCH_BYTES // 3)] * 1000) == 3
    assert batch_size([b"x"] * 300 + [b"x" * 2 * BATCH_BYTES]) == 1


@pytest.mark.long
def test_long_lines_at_the_crash_work() -> None:
    """Goal: two unreplicated and two unflushed batches for any lines. Method: long ones there."""
    lines = [b"%d" % number for number in range(300)]
    lines[149:162] = [b"%d " % number + b"x" * 600_000 for number in range(13)]
    result = run_scenario(load("leader_failover"), values=lines)
    assert_sound(result)
    assert log_values(result, "n2") == lines
