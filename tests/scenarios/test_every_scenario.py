"""Every scenario is valid for other clusters, and each of its expectations can fail."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS
from tests.scenarios.scenario_runs import FIRST_NAMES, NAMES, assert_sound, load
from yak_core.broker.roles import Broker
from yak_core.broker.store_session import StoreSession
from yak_core.contract.host import Host
from yak_core.ids import NodeId
from yak_core.metadata.partition_state import PartitionState
from yak_core.model.disk import DiskImage
from yak_sim import RunResult, run_scenario

BROKEN = [
    (name, scenario, claim)
    for name, mutant in MUTANTS.items()
    for scenario, claim in mutant.claims.items()
]

BROKEN_WITH_SETTINGS = [
    ("power_loss", {"flush": "os"}, "every restart is clean", "No broker is elected"),
    ("rolling_restart", {"wait": "false"}, "", "At most one broker is down"),
    ("store_forgets", {"after_ms": "0"}, "", "goes down"),
    ("full_disk", {"min_isr": "3"}, "", "the others commit records"),
]
"""Scenario, settings, broken rule or "", and the claim that fails."""


class OwnChecks:
    """An observer that runs only the brokers' own checks after every step."""

    def after_step(self, host: Host, *_step: object) -> None:
        if isinstance(host.node, Broker):
            host.node.check()

    def on_state(self, state: PartitionState) -> None:
        """Check nothing."""

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """Check nothing."""

    def on_damage(self, node_id: NodeId) -> None:
        """Check nothing."""

    def allow_halt(self, node_id: NodeId) -> None:
        """Check nothing: the world checks halts."""


OTHERS = {
    "acks_compared": ["brokers=5", "min_isr=3", "records=50"],
    "all_asleep": ["brokers=5", "flush=os", "asleep_ms=60000"],
    "asymmetric_partition": ["one_way=true", "brokers=5", "flush=os"],
    "divergent_logs": ["brokers=4", "brokers=5", "brokers=2"],
    "full_disk": ["of=follower", "brokers=5", "flush=os"],
    "idempotent_retry": ["idempotent=false", "brokers=5", "peer_lost=true"],
    "leader_cut_off": ["brokers=5", "cut_off_ms=1000", "lease_us=5000000"],
    "leader_failover": ["brokers=2", "brokers=5", "min_isr=1", "min_isr=3", "peer_lost=true"],
    "metadata_outage": ["brokers=5", "flush=os", "outage_ms=20000"],
    "min_isr_bill": ["min_isr=1", "min_isr=3", "brokers=5"],
    "power_loss": ["flush=os", "brokers=5", "load_ms=2000"],
    "rolling_restart": ["brokers=5", "down_ms=5000", "flush=os"],
    "slow_follower": ["brokers=4", "brokers=5", "flush=os"],
    "store_forgets": ["brokers=5", "flush=os", "after_ms=2000"],
    "two_producers_one_id": ["brokers=5", "flush=os", "records=30"],
    "zombie_leader": ["brokers=4", "brokers=5", "flush=os", "min_isr=1", "peer_lost=true"],
}
"""Scenario -> settings of another cluster."""


IMPORTANT = ("min_isr=1", "flush=os", "one_way=true", "idempotent=false", "of=follower")
"""The settings of the newer scenarios that each change checks: they change what is claimed."""

SETTINGS = [
    (name, setting)
    if name in FIRST_NAMES or (setting in IMPORTANT and setting == OTHERS[name][0])
    else pytest.param(name, setting, marks=pytest.mark.long)
    for name in NAMES
    for setting in OTHERS[name]
]


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_it_holds_for_other_clusters(name: str, setting: str) -> None:
    """Method: other numbers of brokers and other settings."""
    key, _, value = setting.partition("=")
    assert_sound(run_scenario(load(name), 7, {key: value}))


@pytest.mark.parametrize(("name", "scenario", "claim"), BROKEN)
def test_an_expectation_catches_a_broken_rule(name: str, scenario: str, claim: str) -> None:
    """Goal: each expectation can fail, before any assertion.

    Method: no invariants. The same broken rule can fail another claim with another seed, for
    example the convergence of the logs, so there are two seeds.
    """
    rules = MUTANTS[name].variant
    reasons = []
    for seed in (1, 7):
        result = run_scenario(load(scenario), seed, rules=rules, observers=[OwnChecks()])
        reasons.append(reason_without_violation(result))
        if claim in reasons[-1]:
            return
    pytest.fail(f"no seed fails the claim {claim!r}: {reasons}")


@pytest.mark.parametrize(("scenario", "settings", "rule", "claim"), BROKEN_WITH_SETTINGS)
def test_an_expectation_catches_a_broken_setting(
    scenario: str, settings: dict[str, str], rule: str, claim: str
) -> None:
    """Goal: the same for claims about settings. Method: a setting, and for some a broken rule."""
    rules = MUTANTS[rule].variant if rule else None
    result = run_scenario(load(scenario), 7, settings, rules=rules, observers=[OwnChecks()])
    assert_claim_fails(result, claim)


def test_store_forgets_catches_a_broker_that_trusts_its_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: the halt is what is checked. Method: brokers that do not compare replies."""
    monkeypatch.setattr(StoreSession, "_lineage_holds", lambda *_call: True)
    result = run_scenario(load("store_forgets"), 7, observers=[OwnChecks()])
    assert_claim_fails(result, "goes down")


def test_each_scenario_has_a_claim_that_can_fail() -> None:
    """Goal: no scenario is true whatever happens. Method: the scenarios of the two tables."""
    caught = {scenario for _, scenario, _ in BROKEN}
    caught |= {scenario for scenario, _, _, _ in BROKEN_WITH_SETTINGS}
    assert caught == set(NAMES)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_it_holds_for_fifty_seeds(name: str) -> None:
    """Goal: a scenario is true in general. Method: seeds 1 to 50, as `yak sim sweep` runs them."""
    results = [run_scenario(load(name), seed) for seed in range(1, 51)]
    assert [(r.seed, r.reason) for r in results if r.valid is not True] == []


def assert_claim_fails(result: RunResult, claim: str) -> None:
    """Check that the run is not valid because of this claim."""
    assert claim in reason_without_violation(result)


def reason_without_violation(result: RunResult) -> str:
    """Return why a run is not valid; check that a claim is the reason, and no invariant."""
    assert result.valid is False
    assert not result.violations
    return result.reason
