"""The simulated disk: order, flushes, crashes, stalls, no space.

Method: a disk alone, with fixed latencies and a list of its completions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.sim.echo_nodes import batch_at
from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskDone, DiskOk, NoSpace
from yak_core.ids import LogGeneration, OpId
from yak_core.manual.disk import ManualDisk
from yak_core.model.disk import DiskImage
from yak_sim.physics.choices import RandomChoices, ReplayChoices
from yak_sim.physics.clock import Clock
from yak_sim.physics.disk import SimDisk
from yak_sim.physics.kinds import Loss
from yak_sim.physics.topology import DiskSpec

SPEC = DiskSpec(append_us=10, flush_us=100, flush_mean_us=0, save_us=50, save_mean_us=0)


@dataclass
class Bench:
    clock: Clock
    disk: SimDisk
    done: list[tuple[int, DiskDone]]

    def run(self, until_us: int) -> None:
        self.clock.run_until(until_us)

    def append(self, op: int, *batches_of: int) -> None:
        """Append batches of one record at these offsets."""
        batches = tuple(batch_at(offset, b"v%d" % offset) for offset in batches_of)
        self.disk.append(AppendLog(OpId(op), LogGeneration(0), batches), -1)

    def ops(self) -> list[tuple[int, int]]:
        return [(now, done.op) for now, done in self.done]


def bench(spec: DiskSpec = SPEC) -> Bench:
    clock, done = Clock(), list[tuple[int, DiskDone]]()

    def report(event: DiskDone, _cause: int) -> None:
        done.append((clock.now(), event))

    return Bench(clock, SimDisk(clock, spec, RandomChoices(1).at("disk", "n1"), report), done)


def test_operations_run_one_after_the_other() -> None:
    """Goal: completion in issue order. Method: fixed times; an operation issued while idle."""
    it = bench()
    it.append(1, 0)
    it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
    it.append(3, 1)
    it.disk.save(SaveState(OpId(4), "k", b"v"), -1)
    it.disk.truncate(TruncateLog(OpId(5), LogGeneration(0), 1), -1)
    it.run(1_000)
    it.append(6, 1)
    it.run(2_000)
    assert it.ops() == [(10, 1), (110, 2), (120, 3), (170, 4), (180, 5), (1_010, 6)]
    assert {type(done.result) for _, done in it.done} == {DiskOk}
    assert it.disk.image.saved == {"k": b"v"}


def test_order_holds_when_times_are_drawn() -> None:
    """Goal: a short operation does not overtake a long one. Method: large random latencies."""
    it = bench(DiskSpec(append_us=1, append_mean_us=5_000, flush_us=1, flush_mean_us=5_000))
    for number in range(100):
        it.append(2 * number, number)
        it.disk.flush(FlushLog(OpId(2 * number + 1), LogGeneration(0)), -1)
    it.run(10_000_000)
    assert [op for _, op in it.ops()] == list(range(200))


def test_a_read_sees_issued_operations_and_the_image_completed_ones() -> None:
    """Goal: the tail cache. Method: read between issue and completion of appends and truncation."""
    it = bench()
    it.append(1, 0, 1)
    assert [b.base_offset for b in it.disk.read(0, 9, 1 << 20)] == [0, 1]
    assert it.disk.image.leo == 0
    it.run(50)
    it.disk.truncate(TruncateLog(OpId(2), LogGeneration(1), 1), -1)
    assert [b.base_offset for b in it.disk.read(0, 9, 1 << 20)] == [0]
    assert it.disk.image.leo == 2
    assert it.disk.generation == 1


def test_a_flush_covers_only_earlier_appends() -> None:
    """Method: an append issued while the flush is in flight."""
    it = bench()
    it.append(1, 0)
    it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
    it.append(3, 1)
    it.run(115)
    assert it.disk.image.durable_end == 1
    it.run(500)
    assert (it.disk.image.leo, it.disk.image.durable_end) == (2, 1)
    assert it.disk.unflushed == 1


def crashed(lose: Loss) -> DiskImage:
    """Crash with offset 0 flushed, 1 and 2 written, 3 in flight."""
    it = bench()
    it.append(1, 0)
    it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
    it.append(3, 1, 2)
    it.run(150)
    it.append(4, 3)
    assert it.disk.unflushed == 3
    it.disk.crash(lose)
    assert it.disk.tail.leo == it.disk.image.leo
    before = len(it.done)
    it.run(10_000)
    assert len(it.done) == before, "a crash drops operations in flight"
    return it.disk.image


@pytest.mark.parametrize(("lose", "end"), [(Loss.NOTHING, 4), (Loss.UNSYNCED, 1), (Loss.TORN, 3)])
def test_each_kind_of_loss(lose: Loss, end: int) -> None:
    """Method: the same crash with each value of ``lose``."""
    image = crashed(lose)
    assert image.leo == end
    assert image.durable_end == end, "recovered records are durable"


def test_only_a_crash_that_loses_nothing_keeps_the_storage_session() -> None:
    """Method: each kind of loss in turn, with nothing to lose; then the end of a process."""
    disk = bench().disk
    seen = [disk.recovered().storage_session]
    for lose in (Loss.NOTHING, Loss.UNSYNCED, Loss.SOME, Loss.TORN, Loss.NOTHING):
        disk.crash(lose)
        seen.append(disk.recovered().storage_session)
    disk.complete_pending()
    seen.append(disk.recovered().storage_session)
    one, same, *others = seen
    assert one == same
    assert len({one, *others}) == 4
    assert others[2] == others[3] == others[4]


def test_a_crash_with_loss_some_keeps_a_random_prefix() -> None:
    """Goal: every end between flushed and written is drawn. Method: all decisions."""
    ends = set()
    for executed in range(2):
        for lost in range(4):
            it = bench()
            it.append(1, 0)
            it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
            it.append(3, 1, 2)
            it.run(150)
            it.append(4, 3)
            driver = ReplayChoices(1, [("d", "n1", 0, executed), ("d", "n1", 1, lost)])
            it.disk._point = driver.at("d", "n1")
            it.disk.crash(Loss.SOME)
            ends.add(it.disk.image.leo)
            assert it.disk.image.leo >= 1, "flushed records survive"
    assert ends == {1, 2, 3, 4}


def test_an_unflushed_truncation_may_be_undone() -> None:
    """Method: truncate and crash; truncate, flush and crash; truncate and lose nothing."""
    for flushed, lose, end in (
        (False, Loss.UNSYNCED, 2),
        (True, Loss.UNSYNCED, 1),
        (False, Loss.NOTHING, 1),
    ):
        it = bench()
        it.append(1, 0, 1)
        it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
        it.disk.truncate(TruncateLog(OpId(3), LogGeneration(1), 1), -1)
        if flushed:
            it.disk.flush(FlushLog(OpId(4), LogGeneration(1)), -1)
        it.run(1_000)
        it.disk.crash(lose)
        assert it.disk.image.leo == end


def test_a_clean_end_loses_nothing() -> None:
    """Goal: issued operations complete. Method: settle with operations in flight."""
    it = bench()
    it.append(1, 0)
    it.disk.save(SaveState(OpId(2), "clean", b"1"), -1)
    it.disk.complete_pending()
    it.run(1_000)
    assert it.disk.image.leo == 1
    assert it.disk.image.saved == {"clean": b"1"}
    assert it.done == []


def test_a_stall_delays_everything_and_keeps_the_order() -> None:
    """Method: stall with operations in flight and operations to come."""
    it = bench()
    it.append(1, 0)
    it.disk.stall(5_000)
    it.run(1_000)
    it.append(2, 1)
    it.disk.flush(FlushLog(OpId(3), LogGeneration(0)), -1)
    it.run(10_000)
    assert it.ops() == [(5_000, 1), (5_010, 2), (5_110, 3)]


def test_ending_a_stall_early_keeps_the_order_too() -> None:
    """Goal: no operation overtakes a waiting one. Method: end the stall, issue more."""
    it = bench()
    it.append(1, 0)
    it.disk.flush(FlushLog(OpId(2), LogGeneration(0)), -1)
    it.disk.stall(5_000)
    it.run(1_000)
    it.disk.clear_faults()
    it.append(3, 1)
    it.run(20_000)
    assert it.ops() == [(1_010, 1), (1_110, 2), (1_120, 3)]
    it.disk.clear_faults()
    assert it.disk.image.leo == 2


def drawn(chance: random.Random, op: int, end: int) -> DiskEffect:
    """Draw an effect for a log that ends at ``end`` after all earlier effects."""
    generation = LogGeneration(0)
    kind = chance.choice(("append", "append", "append", "flush", "truncate", "save"))
    if kind == "append":
        batches = tuple(batch_at(end + at, b"%d" % op) for at in range(chance.randint(1, 3)))
        return AppendLog(OpId(op), generation, batches)
    if kind == "flush":
        return FlushLog(OpId(op), generation)
    if kind == "truncate":
        return TruncateLog(OpId(op), generation, chance.randint(max(0, end - 4), end))
    return SaveState(OpId(op), "k", chance.choice((None, b"%d" % op)))


def content(image: DiskImage) -> tuple[object, ...]:
    return (image.batches, image.ends, image.durable_count, image.restorable, image.saved)


@pytest.mark.parametrize("seed", range(20))
def test_manual_and_simulated_disk_agree(seed: int) -> None:
    """Method: random effects to both, at times without space."""
    chance = random.Random(seed)
    it, manual = bench(), ManualDisk()
    give = {
        AppendLog: it.disk.append,
        FlushLog: it.disk.flush,
        TruncateLog: it.disk.truncate,
        SaveState: it.disk.save,
    }
    for op in range(200):
        order = drawn(chance, op, manual.tail.leo)
        give[type(order)](order, -1)  # type: ignore[operator]
        manual.issue(order, -1)
        while len(manual.queue) > 6 or (manual.queue and chance.random() < 0.4):
            it.disk.full = chance.random() < 0.2
            count = len(it.done)
            while len(it.done) == count:
                it.run(it.clock.now() + 1)
            manual.perform(it.disk.full)
            done = manual.take()
            assert done is not None
            assert (done.effect.op, done.result) == (it.done[-1][1].op, it.done[-1][1].result)
            assert content(manual.image) == content(it.disk.image)
            assert manual.tail.batches == it.disk.tail.batches
    assert any(isinstance(done.result, NoSpace) for _, done in it.done)
