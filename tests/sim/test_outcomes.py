"""Producers report true outcomes through timeouts, stalls, expiries and forgetting.

Method: each seed draws the timeouts, three rounds of load on three of five producers, and the
faults of each round. The brokers remember three producers, so the two idle ones are forgotten. At
the end the content of the logs is compared with what was reported: ``not_written`` is in no log,
``written`` is in the log, and nothing is there twice or out of order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import simpy

from yak_core.contract.effects import Observe
from yak_core.contract.events import NotSent
from yak_core.contract.notes import ProduceRefused, ProducerReset
from yak_core.errors import ErrorCode, Outcome
from yak_sim import RandomChoices, RunResult, Script, World, run_scenario, seconds
from yak_sim.physics.choices import Point
from yak_sim.physics.topology import LinkSpec, Topology, millis
from yak_sim.run.scenario import Scenario

PRODUCERS = 5
ACTIVE = 3
"""Producers of a round, and the number that brokers remember: none is forgotten while it sends."""
ROUNDS = 3
SETTLES_US = seconds(4)
"""Time after the faults of a round in which late copies of its requests arrive."""

NEEDED = ("WRITTEN", "NOT_WRITTEN", "UNKNOWN", "never sent", "forgotten", "new epoch")


def fault(world: World, point: Point) -> None:
    """Begin one fault of brokers, producers or links."""
    broker = (*world.brokers, world.leader or "n1")[point.pick(4)]
    producer = f"p{1 + point.pick(PRODUCERS)}"
    for_us = point.between(millis(200), millis(6_000))
    kind = point.pick(9)
    if kind == 0:
        world.crash(broker, for_us=for_us) if broker in world.running else None
    elif kind == 1:
        world.pause(broker, for_us=for_us)
    elif kind == 2:
        world.pause(producer, for_us=for_us)
    elif kind == 3:
        for node in world.brokers:
            world.pause(node, for_us=for_us)
    elif kind == 4:
        world.isolate(broker, for_us=for_us)
    elif kind == 5:
        world.disconnect(broker, producer, for_us=for_us)
    elif kind == 6:
        world.disconnect(producer, broker, for_us=for_us)
    elif kind == 7:
        delay_us = point.between(millis(50), millis(1_500))
        world.slow_link(broker, producer, two_way=True, delay_us=delay_us, for_us=for_us)
    else:
        world.stall_disk(broker, for_us=for_us)


def one_round(world: World, point: Point) -> Iterator[simpy.Event]:
    """Let three producers send while faults begin; then heal, and wait for all results."""
    first = point.pick(PRODUCERS)
    for number in range(ACTIVE):
        world.producers[(first + number) % PRODUCERS].send(1 + point.pick(80))
    for _ in range(1 + point.pick(4)):
        yield world.sleep(seconds(point.between(20, 600) / 1_000))
        fault(world, point)
    yield world.sleep(seconds(point.between(100, 4_000) / 1_000))
    world.heal_everything()
    for producer in world.producers:
        world.resume(producer.node_id)
    yield world.until(
        lambda: all(producer.held for producer in world.producers),
        within=seconds(60),
        what="all producers have sent the batches of the round",
    )
    yield world.until_converged(within=seconds(60))
    yield world.sleep(seconds(SETTLES_US / 1e6))


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    point = RandomChoices(seed).at("outcomes", "cluster")

    def outcomes(world: World) -> Script:
        yield world.until_ready()
        world.topology = replace(world.topology, client_limits=tuple(client_limits.items()))
        for _ in range(PRODUCERS):
            rate, batch = point.between(10, 100), 1 + point.pick(3)
            world.producer(rate_per_s=rate, batch=batch, hold=True)
        for _ in range(ROUNDS):
            yield from one_round(world, point)
        world.expect.outcomes_are_true()
        world.expect.nothing_acked_is_lost()
        world.expect.no_duplicates()
        world.expect.order_kept()
        for name, count in counts(world).items():
            world.figure(name, count)

    limits = {"producers_max": ACTIVE, "lease_us": millis(1_500), "replica_lag_us": millis(1_000)}
    request_us = point.between(millis(50), millis(1_000))
    client_limits = {
        "request_timeout_us": request_us,
        "delivery_timeout_us": request_us + point.between(1, millis(1_500)),
        "retry_backoff_us": point.between(millis(5), millis(100)),
    }
    link = LinkSpec(delay_mean_us=point.between(0, 4_000), fifo=not point.happens((1, 3)))
    return Scenario(
        name="outcomes",
        text=__doc__ or "",
        seed=seed,
        settings={},
        parameters={},
        function=outcomes,
        topology=Topology(client_link=link),
        world_limits=limits,
    )


def counts(world: World) -> Counter[str]:
    """Count the outcomes, and the steps that make a seed interesting."""
    found: Counter[str] = Counter()
    for producer in world.producers:
        for sent in producer.sent:
            assert isinstance(sent.outcome, Outcome)
            found[sent.outcome.name] += 1
    for step in world.trace:
        found["never sent"] += isinstance(step.event, NotSent)
        for effect in step.effects:
            note = effect.note if isinstance(effect, Observe) else None
            found["new epoch"] += isinstance(note, ProducerReset)
            if isinstance(note, ProduceRefused):
                found["forgotten"] += note.error == ErrorCode.UNKNOWN_PRODUCER_ID.name
    return found


def run(seed: int) -> RunResult:
    """Run one seed."""
    return run_scenario(draw(seed), seed)


@pytest.mark.parametrize(
    "seeds", [12, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(3_000)])]
)
def test_each_outcome_is_true(seeds: int) -> None:
    """Goal: no report is a guess. Method: the seeds; together they reach each kind of outcome."""
    reached: Counter[str] = Counter()
    for seed in range(seeds):
        result = run(seed)
        assert result.valid is True, (seed, result.reason)
        reached.update({name: result.figures[name] for name in NEEDED if name in result.figures})
    print("\n", dict(reached))
    assert [name for name in NEEDED if not reached[name]] == []
