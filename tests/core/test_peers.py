"""A broker lets no peer speak for another one."""

from __future__ import annotations

import pytest

from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.config import SECOND, BrokerConfig
from yak_core.contract.effects import Observe
from yak_core.contract.events import Received
from yak_core.contract.messages import Replicate
from yak_core.contract.notes import IgnoredMessage, IgnoreReason
from yak_core.ids import Epoch
from yak_core.manual.run import advance
from yak_core.manual.world import Manual

IDS = ("n1", "n2", "n3")


@pytest.mark.parametrize("named", ["n1", "n3"])
def test_a_replicate_counts_only_from_the_leader_that_it_names(named: str) -> None:
    """Goal: a message of n2 in the name of n1 (the broker itself) or n3 changes nothing."""
    world = Manual()
    for node in IDS:
        world.add(node, BrokerConfig(replicas=IDS), build_broker())
        world.start(node)
    advance(world, 2 * SECOND)
    broker = world.host("n1").node
    assert isinstance(broker, Broker)
    before = broker.snapshot()
    forged = Replicate(Epoch(broker.epoch + 5), named, 0, 0, Epoch(-1), (), 0, 0, 1)
    effects = broker.step(3 * SECOND, Received("n2", forged))
    assert effects == [Observe(IgnoredMessage("n2", "Replicate", IgnoreReason.NOT_ITS_OWN))]
    assert broker.snapshot() == before
