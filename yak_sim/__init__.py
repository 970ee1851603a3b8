"""The deterministic simulator: a cluster with simulated network, disks, store and faults.

``__all__`` is the public API. Scenarios and notebooks use only these names.
"""

from yak_core.trace.recorder import Fault
from yak_sim.physics.choices import RandomChoices, ReplayChoices
from yak_sim.physics.kinds import LinkFault, Loss, StoreKind
from yak_sim.physics.network import NetworkFault
from yak_sim.physics.topology import DiskSpec, LinkSpec, Topology, millis, seconds
from yak_sim.plot.watermarks import describe, plot_watermarks
from yak_sim.run.scenario import Scenario, SettingError, run_scenario, scenario
from yak_sim.run.verdict import RunResult
from yak_sim.script import run_as_script
from yak_sim.world.clients import SimConsumer, SimProducer
from yak_sim.world.expect import Expectation, ExpectationFailed
from yak_sim.world.loop import Limits, Script
from yak_sim.world.narrative import Line
from yak_sim.world.observers import WorldObserver
from yak_sim.world.probes import BrokerView, Role
from yak_sim.world.situations import Situation
from yak_sim.world.world import World

__all__ = [
    "BrokerView",
    "DiskSpec",
    "Expectation",
    "ExpectationFailed",
    "Fault",
    "Limits",
    "Line",
    "LinkFault",
    "LinkSpec",
    "Loss",
    "NetworkFault",
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
    "Topology",
    "World",
    "WorldObserver",
    "describe",
    "millis",
    "plot_watermarks",
    "run_as_script",
    "run_scenario",
    "scenario",
    "seconds",
]
