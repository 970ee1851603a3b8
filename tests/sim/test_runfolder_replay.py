"""A trace file is enough to replay every node, byte for byte, though it has no payloads.

Method: run each story, read its trace back from the file, give each start's events to a new node.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.leader_failover import leader_failover
from scenarios.zombie_leader import zombie_leader
from yak_core.broker.node import new_broker
from yak_core.clients.consumer import Consumer
from yak_core.clients.producer import Producer
from yak_core.config import BrokerConfig
from yak_core.contract.events import Started
from yak_core.contract.node import Node
from yak_core.trace.json_codec import EFFECT
from yak_core.trace.json_scalars import Elided
from yak_sim import Scenario, run_scenario
from yak_sim.plot.data import past_of
from yak_sim.run.run_folder import read_trace, write_run


def new_node(name: str, event: Started) -> Node:
    """The node that such a start made."""
    if isinstance(event.config, BrokerConfig):
        return new_broker()
    return Producer() if name.startswith("p") else Consumer()


@pytest.mark.parametrize("story", [leader_failover, zombie_leader], ids=lambda story: story.name)
def test_a_trace_file_replays_every_node(story: Scenario, tmp_path: Path) -> None:
    """Goal: what is on disk is all that happened. Method: compare the effects of each step."""
    result = run_scenario(story, 7, {})
    trace = read_trace(write_run(result, tmp_path, ["yak"]))
    nodes: dict[tuple[str, int], Node] = {}
    elided = 0
    for step in trace:
        start = (step.node, step.start)
        if isinstance(step.event, Started):
            nodes[start] = new_node(step.node, step.event)
        effects = nodes[start].step(step.t_us, step.event)
        again = [EFFECT.encode(effect) for effect in effects]
        assert again == [EFFECT.encode(effect) for effect in step.effects], f"step {step.i}"
        for effect in effects:
            batches = getattr(effect, "batches", ())
            elided += sum(isinstance(batch.data, Elided) for batch in batches)
    assert len(nodes) > 4
    assert elided > 10, "payloads went through as what they are known by"


def test_the_plot_of_a_story_shows_what_its_brokers_know() -> None:
    """Goal: curves end where logs do. Method: the last values against the live brokers."""
    result = run_scenario(leader_failover, 7, {})
    past = past_of(result.trace)
    for broker in past.brokers:
        node = result.world.broker(broker.node)
        assert broker.leo[-2][1] == node.leo
        assert broker.hw[-2][1] == node.hw
    assert [reign.epoch for reign in past.reigns] == [1, 2]
    assert past.isr[-1][1] == ("n1", "n2", "n3")
    crashed = [broker for broker in past.brokers if broker.crashes]
    assert [broker.node for broker in crashed] == [past.reigns[0].node]
    assert crashed[0].truncations[0].before - crashed[0].truncations[0].end == 2
