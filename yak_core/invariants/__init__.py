"""White-box invariants: checks of the state of every broker after every step.

The same :class:`Invariants` object observes the manual world and the simulator. It keeps state that
no node sees: a copy of every log as a chain of hashes, the durable end of each log, and the
committed chain. It also keeps the leader of each epoch, with the log that it was elected with.

A step without changes costs a few comparisons. Otherwise the cost grows with the number of changed
batches: only the node that stepped is compared with the committed chain. All members of ISR and ELR
are compared when the partition state or the committed chain changes.

A violation names the invariant, the node, what was expected, what was found, and the rules.
Sources: Kafka's TLA+ specifications (Vanlightly's of KIP-966, Gustafson's of KIP-320), and the
rules of docs/protocol.md.
"""

from yak_core.invariants.observer import Invariants
from yak_core.invariants.violation import RULES, InvariantViolated

__all__ = ["RULES", "InvariantViolated", "Invariants"]
