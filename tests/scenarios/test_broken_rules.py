"""The claims of the scenarios are not idle: under a broken rule one of them fails by itself."""

from __future__ import annotations

import pytest

from tests.mutants import MUTANTS
from tests.scenarios.stories import load
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
    """An observer that watches for slips of the code alone, after every step."""

    def after_step(self, host: Host, *_step: object) -> None:
        if isinstance(host.node, Broker):
            host.node.check()

    def on_state(self, state: PartitionState) -> None:
        """No promise is looked at."""

    def on_crash(self, node_id: NodeId, image: DiskImage) -> None:
        """No promise is looked at."""

    def allow_halt(self, node_id: NodeId) -> None:
        """A halt is looked at by the world."""


@pytest.mark.parametrize(("name", "scenario", "claim"), BROKEN)
def test_a_claim_catches_a_broken_rule_by_itself(name: str, scenario: str, claim: str) -> None:
    """Goal: each claim can fail, and no assertion is faster. Method: switch the invariants off."""
    rules = MUTANTS[name].variant
    result = run_scenario(load(scenario), 7, rules=rules, observers=[OwnChecks()])
    assert result.valid is False
    assert not result.violations
    assert claim in result.reason
