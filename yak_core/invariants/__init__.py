"""White-box invariants: looks inside every broker after every step; must never steer one.

The same :class:`Invariants` object watches the world by hand and the simulator. It keeps what no
node may see: a shadow of every log as a chain of hashes, what is durable where, the one committed
chain, who led which epoch with what. A step costs a few comparisons unless something changed, then
time in the records that changed: only the node that stepped is compared, with one chain; all nodes
are when the record or the committed chain moves. A violation names the invariant, the node, what
was expected, what happened, and the rule. Sources: Kafka's TLA+ specifications (Vanlightly's of
KIP-966, Gustafson's of KIP-320) for S1 to S15, and the INV list of this project's checkers.
"""

from yak_core.invariants.observer import Invariants
from yak_core.invariants.violation import RULES, InvariantViolated

__all__ = ["RULES", "InvariantViolated", "Invariants"]
