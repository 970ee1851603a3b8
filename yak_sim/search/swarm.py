"""The crash-and-partition mix: random clusters, loads and fault plans, one per seed.

The invariants check every step. After the last fault everything is healed, and the cluster must
converge without losing an acknowledged record. Each seed disables about half of the fault classes,
as in swarm testing (Groce and others, ISSTA 2012), and a quarter of the windows have no fault. Rare
combinations of faults therefore occur. All faults are covered by the guarantees: any crash with
flush=batch, and with flush=os any crash that loses nothing and one that may lose records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from yak_core.rules import Rules
from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import Choices, RandomChoices
from yak_sim.physics.kinds import StoreKind
from yak_sim.physics.topology import DiskSpec, LinkSpec, Topology, broker_ids, millis, seconds
from yak_sim.run.scenario import Scenario, run_scenario
from yak_sim.run.verdict import RunResult
from yak_sim.search.fault_classes import KINDS, may_lose_records
from yak_sim.world.loop import Limits, Script
from yak_sim.world.plan import LEADER
from yak_sim.world.world import World

FAULTS_END: Final = seconds(8)
"""The time at which everything is healed; every fault begins earlier."""

CONVERGES_WITHIN: Final = seconds(40)
"""The limit for convergence after healing: many times the time of an election and ISR changes."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """The parameters drawn for one seed. ``classes`` are the enabled fault classes."""

    seed: int
    flush: str
    limits: tuple[tuple[str, int], ...]
    topology: Topology
    peer_lost: bool
    producers: int
    rate_per_s: int
    batch: int
    classes: tuple[str, ...]
    plan: tuple[Fault, ...]


def draw_swarm(choices: Choices) -> Swarm:
    """Draw all parameters of a run, as a pure function of the choices."""
    point = choices.at("mix.knobs", "cluster")
    flush = ("batch", "batch", "batch", "os")[point.pick(4)]
    brokers = broker_ids(3)
    link = LinkSpec(
        delay_min_us=point.between(100, 3_000),
        delay_mean_us=point.between(0, 4_000),
        loss=(point.between(1, 60), 1_000) if point.happens((1, 4)) else (0, 1),
        duplicate=(point.between(1, 100), 1_000) if point.happens((1, 4)) else (0, 1),
        fifo=not point.happens((1, 4)),
    )
    topology = Topology(
        peer_link=link,
        client_link=LinkSpec(delay_mean_us=link.delay_mean_us, fifo=link.fifo),
        store_link=LinkSpec(
            delay_mean_us=link.delay_mean_us,
            loss=(point.between(1, 40), 1_000) if point.happens((1, 4)) else (0, 1),
        ),
        disk=DiskSpec(
            flush_us=point.between(100, 3_000),
            flush_mean_us=point.between(0, 8_000),
            append_mean_us=point.between(0, 200),
        ),
    )
    limits = (
        ("lease_renew_us", millis(200)),
        ("lease_us", millis(1_200)),
        ("election_stagger_us", millis(100)),
        ("replica_lag_us", millis(1_000)),
    )
    classes = tuple(kind for kind in KINDS if point.happens((1, 2)))
    return Swarm(
        seed=choices.seed,
        flush=flush,
        limits=limits if point.happens((3, 4)) else (),
        topology=topology,
        peer_lost=point.happens((1, 2)),
        producers=1 + point.pick(2),
        rate_per_s=point.between(3, 15),
        batch=1 + point.pick(3),
        classes=classes,
        plan=_draw_plan(choices, brokers, flush, classes),
    )


def run_swarm(
    seed: int,
    *,
    rules: Rules | None = None,
    choices: Choices | None = None,
    store: str = StoreKind.MODEL,
) -> RunResult:
    """Run one seed of the mix and return its result."""
    choices = choices or RandomChoices(seed)
    swarm = draw_swarm(choices)

    def crash_and_partition_mix(world: World) -> Script:
        yield from _run_load_and_faults(world, swarm)

    scenario = Scenario(
        name="crash_and_partition_mix",
        text=__doc__ or "",
        seed=seed,
        settings={"flush": swarm.flush, "peer_lost": swarm.peer_lost, "store": store},
        parameters={},
        function=crash_and_partition_mix,
        topology=swarm.topology,
        world_limits=dict(swarm.limits),
    )
    limits = Limits(simulated_us=seconds(300), wall_s=120)
    return run_scenario(scenario, seed, rules=rules, choices=choices, limits=limits)


def _run_load_and_faults(world: World, swarm: Swarm) -> Script:
    """Run load and faults, then heal, wait for convergence and check."""
    for _ in range(swarm.producers):
        world.producer(rate_per_s=swarm.rate_per_s * swarm.batch, batch=swarm.batch)
    yield from follow_and_converge(world, swarm.plan)


def follow_and_converge(world: World, plan: Iterable[Fault]) -> Script:
    """Follow a plan until FAULTS_END, then heal everything, wait for convergence and check.

    The producers of the world run until then. A consumer reads everything.
    """
    producers = world.producers
    consumer = world.consumer()
    world.follow(plan)
    yield world.at(FAULTS_END)
    for producer in producers:
        producer.stop()
    world.heal_everything()
    yield world.until_converged(within=CONVERGES_WITHIN)
    world.expect.nothing_acked_is_lost()
    world.expect.no_duplicates()
    world.expect.order_kept()
    world.expect.logs_converge()
    end = world.broker(str(world.leader)).hw
    yield world.until(
        lambda: consumer.position >= end,
        within=seconds(10),
        what="the consumer has read all committed records",
    )


def _draw_plan(
    choices: Choices, brokers: tuple[str, ...], flush: str, classes: tuple[str, ...]
) -> tuple[Fault, ...]:
    """Draw the faults of each window of about one second: up to two of the enabled classes."""
    point = choices.at("mix.plan", "cluster")
    plan: list[Fault] = []
    # With flush=os the guarantees cover min ISR - 1 crashes that may lose records.
    crashes_left = Topology().min_isr - 1 if flush == "os" else None
    at = seconds(1)
    while at < FAULTS_END and classes:
        if not point.happens((1, 4)):
            for _ in range(1 + point.pick(2)):
                kind = classes[point.pick(len(classes))]
                when = at + point.between(0, 500_000)
                target = LEADER if point.happens((1, 2)) else brokers[point.pick(len(brokers))]
                faults = KINDS[kind](point, when, target, brokers)
                if crashes_left is not None and any(map(may_lose_records, faults)):
                    if crashes_left == 0:
                        continue
                    crashes_left -= 1
                plan += [fault for fault in faults if fault.at_us < FAULTS_END]
        at += point.between(600_000, 1_600_000)
    return tuple(plan)
