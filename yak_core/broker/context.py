"""The context that the parts of a broker share: rules, time, and effects of the current step.

A part adds effects with :meth:`Context.emit`, in the order in which the world starts them.
"""

from __future__ import annotations

from yak_core.config import BrokerConfig
from yak_core.contract.effects import Effect, Observe
from yak_core.contract.notes import Note
from yak_core.ids import CallId, Epoch, Micros, NodeId, OpId
from yak_core.rules import Rules
from yak_core.value import value


@value
class LeaderHint:
    """The newest leader epoch that this broker knows, and its leader; None if unknown."""

    leader: NodeId | None
    epoch: Epoch


class Context:
    """The state that the parts of one broker share."""

    __slots__ = (
        "node", "config", "rules", "nonce", "now", "hint", "effects", "last_op", "last_call",
        "attempts",
    )  # fmt: skip

    def __init__(
        self, node: NodeId, config: BrokerConfig, rules: Rules, nonce: int, now: Micros
    ) -> None:
        self.node = node
        self.config = config
        self.rules = rules
        self.nonce = nonce
        self.now = now
        #: The current leader and epoch, for the broker's own decisions and for responses.
        self.hint = LeaderHint(None, Epoch(0))
        #: The effects of the current step; each step begins with an empty list.
        self.effects: list[Effect] = []
        #: The newest disk operation id, metadata call id and attempt counter.
        self.last_op: OpId = OpId(0)
        self.last_call: CallId = CallId(0)
        self.attempts = 0

    def emit(self, effect: Effect) -> None:
        """Add an effect to the current step."""
        self.effects.append(effect)

    def note(self, note: Note) -> None:
        """Publish a note."""
        self.effects.append(Observe(note))

    def new_op(self) -> OpId:
        """Return a new disk operation id."""
        self.last_op = OpId(self.last_op + 1)
        return self.last_op

    def new_call(self) -> CallId:
        """Return a new metadata call id."""
        self.last_call = CallId(self.last_call + 1)
        return self.last_call

    def new_attempt(self) -> str:
        """Return a new attempt id: node id, start-up nonce and a counter, unique in the cluster."""
        self.attempts += 1
        return f"{self.node}-{self.nonce:032x}-{self.attempts}"
