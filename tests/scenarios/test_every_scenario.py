"""Every scenario is valid for other clusters, and each of its expectations can fail."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS
from tests.scenarios.scenario_runs import NAMES, assert_sound, load
from yak_core.broker.roles import Broker
from yak_core.contract.host import Host
from yak_core.ids import NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage
from yak_sim import run_scenario

BROKEN = [
    (name, scenario, claim)
    for name, mutant in MUTANTS.items()
    for scenario, claim in mutant.claims.items()
]


class OwnChecks:
    """An observer that runs only the brokers' own checks after every step."""

    def after_step(self, host: Host, *_step: object) -> None:
        if isinstance(host.node, Broker):
            host.node.check()

    def on_state(self, state: PartitionState) -> None:
        """Check nothing."""

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """Check nothing."""

    def allow_halt(self, node_id: NodeId) -> None:
        """Check nothing: the world checks halts."""


OTHERS = {
    "acks_compared": ["brokers=5", "min_isr=3", "records=50"],
    "all_asleep": ["brokers=5", "flush=os", "asleep_ms=100000"],
    "asymmetric_partition": ["brokers=5", "one_way=true", "flush=os"],
    "divergent_logs": ["brokers=4", "brokers=5", "brokers=2"],
    "full_disk": ["brokers=5", "of=follower", "flush=os"],
    "idempotent_retry": ["brokers=5", "flush=os", "peer_lost=true"],
    "leader_cut_off": ["brokers=5", "cut_off_ms=1000", "lease_us=5000000"],
    "leader_failover": ["brokers=2", "brokers=5", "min_isr=1", "min_isr=3", "peer_lost=true"],
    "metadata_outage": ["brokers=5", "flush=os", "outage_ms=20000"],
    "min_isr_bill": ["min_isr=1", "min_isr=3", "brokers=5"],
    "power_loss": ["flush=os", "brokers=5", "load_ms=2000"],
    "rolling_restart": ["brokers=5", "down_ms=5000", "flush=os"],
    "slow_follower": ["brokers=4", "brokers=5", "flush=os"],
    "store_forgets": ["brokers=5", "flush=os", "changes=2"],
    "two_producers_one_id": ["brokers=5", "flush=os", "records=30"],
    "zombie_leader": ["brokers=4", "brokers=5", "flush=os", "min_isr=1", "peer_lost=true"],
}
"""Scenario -> settings of another cluster."""


@pytest.mark.parametrize(("name", "setting"), [(n, s) for n in NAMES for s in OTHERS[n]])
def test_it_holds_for_other_clusters(name: str, setting: str) -> None:
    """Method: other numbers of brokers and other settings."""
    key, _, value = setting.partition("=")
    assert_sound(run_scenario(load(name), 7, {key: value}))


@pytest.mark.parametrize(("name", "scenario", "claim"), BROKEN)
def test_an_expectation_catches_a_broken_rule(name: str, scenario: str, claim: str) -> None:
    """Goal: each expectation can fail, before any assertion. Method: no invariants."""
    rules = MUTANTS[name].variant
    result = run_scenario(load(scenario), 7, rules=rules, observers=[OwnChecks()])
    assert result.valid is False
    assert not result.violations
    assert claim in result.reason
