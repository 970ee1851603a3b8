"""Three brokers in the manual world."""

from __future__ import annotations

from collections.abc import Mapping

from yak_core.batch import Builder
from yak_core.broker.node import build_broker
from yak_core.broker.roles import Broker
from yak_core.config import SECOND, BrokerConfig
from yak_core.contract.messages import ProduceRequest
from yak_core.ids import Epoch, NodeId
from yak_core.manual.run import advance, settle
from yak_core.manual.world import Manual

BROKERS = ("n1", "n2", "n3")
CONFIG = BrokerConfig(BROKERS)


def isr(world: Manual) -> tuple[str, ...]:
    """Return the ISR of the partition state."""
    return () if world.store.state is None else world.store.state.isr


def ready_brokers(configs: Mapping[NodeId, BrokerConfig]) -> Manual:
    """Start brokers: the first leads, all are in the ISR, and all have the partition state."""
    world = Manual()
    for node, config in configs.items():
        world.add(node, config, build_broker())
        world.start(node)
        settle(world)
    assert advance(world, 10 * SECOND, lambda: all(_knows(world, node) for node in configs))
    return world


def broker_of(world: Manual, node: NodeId) -> Broker:
    """Return a running broker."""
    found = world.host(node).node
    assert isinstance(found, Broker)
    return found


def _knows(world: Manual, node: NodeId) -> bool:
    broker = broker_of(world, node)
    assert broker.config is not None
    replicas = broker.config.replicas
    leads = broker.leading is not None or node != replicas[0]
    return leads and broker.partition is not None and broker.partition.isr == replicas


def cluster(config: BrokerConfig = CONFIG) -> Manual:
    """Make three brokers that serve."""
    return ready_brokers(dict.fromkeys(BROKERS, config))


def produce(world: Manual, node_id: str, value: bytes) -> int:
    """Produce a record with acks=all; return the handle of the call."""
    builder = Builder()
    builder.append(value, timestamp_ms=0)
    return world.call(node_id, ProduceRequest(0, Epoch(-1), -1, 30 * SECOND, builder.build()))
