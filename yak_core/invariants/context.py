"""The state that the checkers share: replicas, ledger, partition state and current host."""

from __future__ import annotations

from typing import NoReturn

from yak_core.contract.host import Host
from yak_core.ids import BrokerEpoch, NodeId
from yak_core.invariants.committed import Ledger
from yak_core.invariants.replica import Replica
from yak_core.invariants.violation import InvariantViolated
from yak_core.metadata.partition_state import PartitionState

STORE: NodeId = "store"


class CheckContext:
    """The state that all checkers of one cluster share."""

    def __init__(self, brokers: tuple[NodeId, ...]) -> None:
        self.replicas = {node_id: Replica(node_id) for node_id in brokers}
        self.ledger = Ledger()
        #: The newest partition state that the store accepted.
        self.state: PartitionState | None = None
        #: Members of its ISR and ELR with their registered broker epochs.
        self.members: tuple[tuple[Replica, BrokerEpoch], ...] = ()
        #: The host of the node that steps, or stepped last.
        self.host: Host | None = None

    def recorded_leader(self) -> Replica | None:
        """Return the leader that the partition state names; None if it does not act as leader."""
        state = self.state
        if state is None or state.leader is None:
            return None
        replica = self.replicas[state.leader]
        if (
            replica.up
            and replica.leading is not None
            and replica.epoch == state.leader_epoch
            and replica.broker_epoch == state.leader_broker_epoch
        ):
            return replica
        return None

    def fail(self, invariant: str, node: NodeId, expected: str, happened: str) -> NoReturn:
        """Raise InvariantViolated; ``expected`` is a noun phrase, ``happened`` a clause."""
        event = -1 if self.host is None else self.host.step_number
        raise InvariantViolated(invariant, event, node, expected, happened)
