"""A mix of faults for producers: the outcomes that they report are compared with the logs.

Each seed draws the timeouts, rounds of load, and the faults of each round. The brokers remember
three producers. In a round of trouble three of five producers send, so the idle ones are forgotten.
In a round of forgetting the others write until the brokers forget a producer that has sent batches
and waits for the responses.

A leader that has forgotten a producer accepts sequence 0 again. So no producer is forgotten while a
batch with sequence 0 is unresolved, or a late copy of one is in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import simpy

from yak_core.contract.effects import Observe
from yak_core.contract.events import NotSent
from yak_core.contract.notes import ProduceRefused, ProducerReset
from yak_core.errors import ErrorCode, Outcome
from yak_sim import RandomChoices, RunResult, Script, World, run_scenario, seconds
from yak_sim.physics.choices import NEVER, Point
from yak_sim.physics.topology import BROKERS, LinkSpec, Topology, millis
from yak_sim.run.scenario import Scenario

PRODUCERS = 5
ACTIVE = 3
"""Producers of a round of trouble, and the number that brokers remember."""
ROUNDS = 3
SETTLES_US = seconds(4)
"""Time after the faults of a round in which late copies of its requests arrive."""

PAUSES_WITHIN_MS = 40
"""Time after which a producer is paused that has just sent."""
PATIENT = 0
"""The producer that is forgotten while it sends: its delivery timeout is longer than that takes."""


def fault(world: World, point: Point, copies: bool) -> None:
    """Begin one fault of brokers, producers or links."""
    broker = (*world.brokers, world.leader or "n1")[point.pick(4)]
    producer = f"p{1 + point.pick(PRODUCERS)}"
    for_us = point.between(millis(200), millis(6_000))
    kind = point.pick(11)
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
    elif kind == 8:
        world.reset(producer, broker)
    elif kind == 9:
        duplicate = (1, 3) if copies else NEVER
        world.disturb(
            producer, BROKERS, loss=(1, 5), duplicate=duplicate, two_way=True, for_us=for_us
        )
    else:
        world.stall_disk(broker, for_us=for_us)


def trouble(world: World, point: Point, copies: bool) -> Iterator[simpy.Event]:
    """Let three producers send while faults begin."""
    first = point.pick(PRODUCERS)
    for number in range(ACTIVE):
        world.producers[(first + number) % PRODUCERS].send(1 + point.pick(80))
    for _ in range(1 + point.pick(4)):
        yield world.sleep(seconds(point.between(20, 600) / 1_000))
        fault(world, point, copies)
    yield world.sleep(seconds(point.between(100, 4_000) / 1_000))


def forgetting(world: World, point: Point) -> Iterator[simpy.Event]:
    """Let the brokers forget a producer that waits for its responses."""
    first = world.producers[PATIENT]
    others = [producer for producer in world.producers if producer is not first]
    first.send(1)
    yield world.until(lambda: not first.outstanding, within=seconds(60), what="its first ack")
    yield world.sleep(seconds(1))  # no copy of sequence 0 is in flight
    lose_responses(world, point, first.node_id)
    first.send(1 + point.pick(5))
    yield world.sleep(seconds(point.between(PAUSES_WITHIN_MS + 1, 300) / 1_000))
    if point.happens((1, 4)) and world.leader is not None:
        world.crash(world.leader, for_us=point.between(millis(50), millis(500)))
    begin = point.pick(len(others))
    writers = [others[(begin + number) % len(others)] for number in range(ACTIVE)]
    for writer in writers:
        writer.send(1)
    yield world.until(
        lambda: not any(writer.outstanding for writer in writers),
        within=seconds(30),
        what="the batches of the others are resolved",
    )


def lose_responses(world: World, point: Point, producer: str) -> None:
    """Let requests of the producer arrive, and its responses be lost or late, until all heals."""
    kind = point.pick(4)
    if kind == 0:
        world.disconnect(BROKERS, producer)
    elif kind == 1:
        world.slow_link(BROKERS, producer, delay_us=point.between(millis(100), seconds(3)))
    elif kind == 2:
        world.disturb(BROKERS, producer, loss=(3, 4))
    else:
        at_us = world.now_us + point.between(0, millis(PAUSES_WITHIN_MS))
        world.call_at(at_us, lambda: world.pause(producer))


def one_round(world: World, point: Point, copies: bool) -> Iterator[simpy.Event]:
    """Run a round of one kind; then heal, and wait for all results and late copies."""
    if point.happens((1, 3)):
        yield from forgetting(world, point)
    else:
        yield from trouble(world, point, copies)
    world.heal_everything()
    for producer in world.producers:
        world.resume(producer.node_id)
    yield world.until(
        lambda: all(producer.held for producer in world.producers),
        within=seconds(60),
        what="all producers have sent the batches of the round",
    )
    yield world.until_converged(within=seconds(60))
    yield world.sleep(SETTLES_US)


def draw(seed: int, copies: bool) -> Scenario:
    """Return the scenario of a seed; with ``copies``, client links duplicate some messages."""
    point = RandomChoices(seed).at("outcomes", "cluster")

    def outcomes(world: World) -> Script:
        yield world.until_ready()
        for number in range(PRODUCERS):
            more = seconds(10) if number == PATIENT else 0
            chosen = client_limits | {"delivery_timeout_us": delivery_us + more}
            world.topology = replace(world.topology, client_limits=tuple(chosen.items()))
            rate, batch = point.between(10, 100), 1 + point.pick(3)
            world.producer(rate_per_s=rate, batch=batch, hold=True)
        for _ in range(ROUNDS):
            yield from one_round(world, point, copies)
        world.expect.outcomes_are_true()
        world.expect.nothing_acked_is_lost()
        world.expect.no_duplicates()
        world.expect.order_kept()
        for name, count in counts(world).items():
            world.figure(name, count)

    limits = {"producers_max": ACTIVE, "lease_us": millis(1_500), "replica_lag_us": millis(1_000)}
    request_us = point.between(millis(50), millis(1_000))
    delivery_us = request_us + point.between(1, millis(1_500))
    client_limits = {
        "request_timeout_us": request_us,
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


def run(seed: int, *, copies: bool = True) -> RunResult:
    """Run one seed."""
    return run_scenario(draw(seed, copies), seed)
