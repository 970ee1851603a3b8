"""The deterministic simulator: a cluster with simulated network, disks, store and faults.

A scenario is a generator function that drives a ``World``. The example crashes the leader, checks
that no acknowledged record is lost, writes the run to a folder and replays it::

    from pathlib import Path

    from yak_sim import Script, World, replay_paths, run_scenario, scenario, seconds, write_run

    @scenario(seed=7, brokers=3)
    def leader_crash(world: World) -> Script:
        yield world.until_ready()
        producer = world.producer(values=[b"a", b"b", b"c"], rate_per_s=1)
        yield world.sleep(seconds(1))
        world.crash(str(world.leader))
        yield world.until(
            lambda: producer.finished, within=seconds(60), what="every batch is resolved"
        )
        world.expect.nothing_acked_is_lost()

    result = run_scenario(leader_crash, seed=8)
    print(result.valid, result.world.leader)  # True n2
    folder = write_run(result, Path("out"), ["python", "example.py"])
    for replay in replay_paths([folder]):
        print(replay.identical)  # True

``__all__`` is the public API, listed in docs/api.md. Scenarios and notebooks use only these names.
"""

from yak_core.trace.recorder import Fault
from yak_sim.anonymous import ANONYMOUS_PROTOCOLS
from yak_sim.grading import Case, grade, grade_in_cluster
from yak_sim.physics.choices import Choices, RandomChoices, ReplayChoices
from yak_sim.physics.kinds import LinkFault, Loss, StoreKind
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.topology import DiskSpec, LinkSpec, Topology, millis, seconds
from yak_sim.plot.distribution import plot_distribution
from yak_sim.plot.kinds import describe
from yak_sim.plot.simple import plot_ack_latency, plot_isr, plot_lag, plot_throughput
from yak_sim.plot.watermarks import plot_watermarks
from yak_sim.run.catalog import load_scenario
from yak_sim.run.replay import FileReplay, replay_paths
from yak_sim.run.run_folder import (
    FormatError,
    OutputError,
    read_history,
    read_trace,
    read_verdict,
    write_run,
)
from yak_sim.run.scenario import Scenario, SettingError, run_scenario, scenario
from yak_sim.run.verdict import RunResult
from yak_sim.script import run_as_script
from yak_sim.search.swarm import Swarm, draw_swarm, run_swarm
from yak_sim.world.clients import SimConsumer, SimProducer
from yak_sim.world.expect import Expect, Expectation, ExpectationFailed
from yak_sim.world.loop import Limits, Script
from yak_sim.world.narrative import Line
from yak_sim.world.observers import WorldObserver
from yak_sim.world.probes import BrokerView, Role
from yak_sim.world.situations import Situation
from yak_sim.world.world import World

__all__ = [
    "ANONYMOUS_PROTOCOLS",
    "BrokerView",
    "Case",
    "Choices",
    "DiskSpec",
    "Expect",
    "Expectation",
    "ExpectationFailed",
    "Fault",
    "FileReplay",
    "FormatError",
    "Limits",
    "Line",
    "LinkFault",
    "LinkSpec",
    "Loss",
    "NetworkFault",
    "OutputError",
    "RandomChoices",
    "ReplayChoices",
    "Role",
    "RunResult",
    "Scenario",
    "Script",
    "SettingError",
    "SimConsumer",
    "SimProducer",
    "Situation",
    "StoreKind",
    "Swarm",
    "Topology",
    "World",
    "WorldObserver",
    "describe",
    "draw_swarm",
    "grade",
    "grade_in_cluster",
    "load_scenario",
    "millis",
    "plot_ack_latency",
    "plot_distribution",
    "plot_isr",
    "plot_lag",
    "plot_throughput",
    "plot_watermarks",
    "read_history",
    "read_trace",
    "read_verdict",
    "replay_paths",
    "run_as_script",
    "run_scenario",
    "run_swarm",
    "scenario",
    "seconds",
    "write_run",
]
