"""What the parts of one node share: its rules, the time, and the effects of the step under way.

Must never decide anything. A part writes effects with :meth:`Context.emit` in the order in which
they are to be started.
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
    """Who leads in the newest epoch that this broker knows; None while no leader is known."""

    leader: NodeId | None
    epoch: Epoch


class Context:
    """What the parts of one node share; the node itself is its only writer."""

    __slots__ = (
        "node",
        "config",
        "rules",
        "nonce",
        "now",
        "hint",
        "out",
        "next_op",
        "next_call",
        "tries",
    )

    def __init__(
        self, node: NodeId, config: BrokerConfig, rules: Rules, nonce: int, now: Micros
    ) -> None:
        self.node = node
        self.config = config
        self.rules = rules
        self.nonce = nonce
        self.now = now
        #: Leader and epoch in answers to clients; the broker acts on the same value.
        self.hint = LeaderHint(None, Epoch(0))
        #: The effects of the step under way; each step begins a new list.
        self.out: list[Effect] = []
        self.next_op: OpId = OpId(0)
        self.next_call: CallId = CallId(0)
        self.tries = 0

    def emit(self, effect: Effect) -> None:
        """Order something of the world."""
        self.out.append(effect)

    def note(self, note: Note) -> None:
        """Remark on something."""
        self.out.append(Observe(note))

    def op(self) -> OpId:
        """A fresh name for a disk operation."""
        self.next_op = OpId(self.next_op + 1)
        return self.next_op

    def call(self) -> CallId:
        """A fresh name for a metadata call."""
        self.next_call = CallId(self.next_call + 1)
        return self.next_call

    def attempt(self) -> str:
        """A fresh attempt id: the start-up nonce and a counter (never used by anyone else)."""
        self.tries += 1
        return f"{self.node}-{self.nonce:032x}-{self.tries}"
