"""Expectations: each holds for a good run and fails for a damaged one, with the position.

Method: one short run; then change its logs and the results of its clients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.sim.echo_nodes import batch_at
from yak_core.batch import Batch
from yak_sim import ExpectationFailed, Script, World, run_scenario, scenario, seconds

VALUES = [b"a", b"b", b"b", b"", b"e", b"f"]


@scenario(seed=7)
def calm(world: World) -> Script:
    """Produce, replicate and read six records."""
    producer = world.producer(values=VALUES, batch=2)
    consumer = world.consumer()
    yield world.until(lambda: producer.finished, within=seconds(10))
    yield world.until(lambda: len(consumer.reads) == len(VALUES), within=seconds(10))
    yield world.until_converged(within=seconds(10))


@pytest.fixture
def world() -> World:
    """Return a world after the run."""
    result = run_scenario(calm)
    assert result.valid is True, result.reason
    return result.world


CLAIMS: dict[str, Callable[[World], None]] = {
    "nothing_acked_is_lost": lambda world: world.expect.nothing_acked_is_lost(),
    "no_duplicates": lambda world: world.expect.no_duplicates(),
    "order_kept": lambda world: world.expect.order_kept(),
    "consumer_read_exactly": lambda world: world.expect.consumer_read_exactly(VALUES),
    "logs_converge": lambda world: world.expect.logs_converge(),
    "leader_is": lambda world: world.expect.leader_is(str(world.leader)),
    "isr_is": lambda world: world.expect.isr_is(reversed(world.brokers)),
    "hw_at_least": lambda world: world.expect.hw_at_least(6),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_about_a_good_run_holds_and_is_kept(name: str, world: World) -> None:
    """Goal: no false failure, and a sentence for the reader. Method: every expectation once."""
    CLAIMS[name](world)
    (expectation,) = world.expectations
    assert expectation.held
    assert expectation.sentence
    assert (expectation.expected, expectation.happened) == ("", "")


def log(world: World) -> list[Batch]:
    """Return the leader's log, to be changed."""
    return world.engine.machines[str(world.leader)].disk.tail.batches


def lose_a_batch(world: World) -> None:
    del log(world)[1]


def alter_a_record(world: World) -> None:
    log(world)[1] = batch_at(2, b"b", b"altered")


def double_a_batch(world: World) -> None:
    batches = log(world)
    batches.append(replace(batches[0], base_offset=0))


def swap_two_batches(world: World) -> None:
    batches = log(world)
    batches[0], batches[1] = batches[1], batches[0]


def forget_one_read(world: World) -> None:
    del world.consumers[0].reads[3]


def double_a_read(world: World) -> None:
    reads = world.consumers[0].reads
    reads.insert(2, reads[1])


def swap_two_reads(world: World) -> None:
    reads = world.consumers[0].reads
    reads[0], reads[1] = reads[1], reads[0]


def alter_a_read(world: World) -> None:
    world.consumers[0].reads[5] = world.consumers[0].reads[5]._replace(value=b"g")


def crash_the_leader(world: World) -> None:
    world.crash(str(world.leader))


DAMAGE: list[tuple[Callable[[World], None], str, str]] = [
    (lose_a_batch, "nothing_acked_is_lost", "b'b' .*offset 2"),
    (alter_a_record, "nothing_acked_is_lost", "offset.*b'altered'"),
    (lose_a_batch, "logs_converge", "offset 2"),
    (alter_a_record, "logs_converge", "offset 2"),
    (double_a_batch, "no_duplicates", "offsets 0 .*0"),
    (double_a_batch, "logs_converge", "difference"),
    (swap_two_batches, "order_kept", "after"),
    (swap_two_reads, "order_kept", "offset 0 .*1"),
    (double_a_read, "order_kept", "offset 1 .*1"),
    (forget_one_read, "consumer_read_exactly", "b'' .*record 4.*b'e'"),
    (double_a_read, "consumer_read_exactly", "b'' .*record 4"),
    (swap_two_reads, "consumer_read_exactly", "b'a' .*record 1.*b'b'"),
    (alter_a_read, "consumer_read_exactly", "b'f' .*record 6.*b'g'"),
    (crash_the_leader, "nothing_acked_is_lost", "no leader"),
    (crash_the_leader, "hw_at_least", "no leader"),
]


@pytest.mark.parametrize(
    ("damage", "expectation", "pattern"), DAMAGE, ids=[f"{d.__name__}-{c}" for d, c, _ in DAMAGE]
)
def test_a_claim_about_a_damaged_run_fails_with_the_position(
    damage: Callable[[World], None], expectation: str, pattern: str, world: World
) -> None:
    """Method: damage the run, then the expectation that must detect it."""
    damage(world)
    with pytest.raises(ExpectationFailed, match=pattern):
        CLAIMS[expectation](world)
    kept = world.expectations[-1]
    assert not kept.held
    assert kept.expected
    assert kept.happened


def test_one_record_too_many_or_too_few_is_counted(world: World) -> None:
    """Goal: an equal prefix is not enough. Method: a shorter and a longer list."""
    with pytest.raises(ExpectationFailed, match=r"\b5\b.*\b6\b"):
        world.expect.consumer_read_exactly(VALUES[:-1])
    with pytest.raises(ExpectationFailed, match=r"\b7\b.*\b6\b"):
        world.expect.consumer_read_exactly([*VALUES, b"g"])


def test_a_record_acknowledged_without_an_offset_is_searched(world: World) -> None:
    """Goal: an acknowledged retry without an offset counts too. Method: such an answer."""
    sent = world.producers[0].sent[1]
    sent.base_offset = -1
    world.expect.nothing_acked_is_lost()
    sent.values = (b"never seen",)
    with pytest.raises(ExpectationFailed, match="b'never seen'"):
        world.expect.nothing_acked_is_lost()


@pytest.mark.parametrize(
    ("expectation", "pattern"),
    [
        (lambda world: world.expect.leader_is("n9"), "leader n9"),
        (lambda world: world.expect.isr_is(["n1"]), "n1.* n1, n2, n3"),
        (lambda world: world.expect.hw_at_least(7), r"\b7\b.*\b6 on n"),
        (
            lambda world: world.expect.that("Ice is hot", False, expected="heat", happened="cold"),
            "Ice is hot: expected heat, found cold",
        ),
    ],
)
def test_a_wrong_claim_has_expected_and_found_values(
    expectation: Callable[[World], None], pattern: str, world: World
) -> None:
    """Method: wrong expectations of a good run."""
    with pytest.raises(ExpectationFailed, match=pattern):
        expectation(world)
