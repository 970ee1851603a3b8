"""Three brokers in the manual world."""

from __future__ import annotations

from yak_core.batch import Builder
from yak_core.broker.node import build_broker
from yak_core.config import SECOND, BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import Epoch
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual

BROKERS = ("n1", "n2", "n3")
CONFIG = BrokerConfig(BROKERS)


def isr(world: Manual) -> tuple[str, ...]:
    """Return the ISR of the partition state."""
    return () if world.store.state is None else world.store.state.isr


def cluster(config: BrokerConfig = CONFIG) -> Manual:
    """Make three brokers: n1 leads, all in the ISR."""
    world = Manual()
    for node in BROKERS:
        world.add(node, config, build_broker())
        world.start(node)
        settle(world)
    assert advance(world, 10 * SECOND, lambda: isr(world) == BROKERS)
    return world


def produce(world: Manual, node_id: str, value: bytes) -> int:
    """Produce a record with acks=all; return the handle of the call."""
    builder = Builder()
    builder.append(value, timestamp_ms=0)
    return world.call(node_id, ProduceRequest(0, Epoch(-1), -1, 30 * SECOND, builder.build()))
