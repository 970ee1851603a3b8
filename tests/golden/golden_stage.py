"""The stage of a golden script: a manual world, and the lines of its steps.

It holds the state that the commands of one script share, and decides which lines are printed. The
script decides what happens next (golden_words.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.golden import golden_lines
from yak_core.batch import Batch
from yak_core.broker.roles import Broker
from yak_core.contract import effects as fx
from yak_core.contract import events as ev
from yak_core.contract.effects import AnswerLog, Effect, SendLog
from yak_core.contract.events import Event
from yak_core.contract.host import Host
from yak_core.contract.messages import with_batches, with_records
from yak_core.contract.node import Build
from yak_core.contract.notes import Note
from yak_core.ids import Micros, NodeId
from yak_core.manual.backend import Config, Flight, ManualBackend, MetaCall, Transit
from yak_core.manual.world import Manual
from yak_core.metadata.store_calls import Publish, RenewLease
from yak_core.rules import Rules

HIDDEN_NOTES = ("PartitionStateObserved", "ProposalEnded", "Campaigned")
"""Notes that repeat the lines around them."""


class ShowingBackend(ManualBackend):
    """Keeps the batches of its node's SendLog and AnswerLog effects."""

    __slots__ = ("taken",)

    def __init__(self, node_id: NodeId, config: Config, build: Build, transit: Transit) -> None:
        super().__init__(node_id, config, build, transit)
        self.taken: list[tuple[Effect, tuple[Batch, ...]]] = []

    def send_log(self, effect: SendLog) -> None:
        self._remember(effect)
        super().send_log(effect)

    def answer_log(self, effect: AnswerLog) -> None:
        self._remember(effect)
        super().answer_log(effect)

    def _remember(self, effect: SendLog | AnswerLog) -> None:
        batches = self.disk.read(effect.start, effect.end_max, effect.bytes_max)
        self.taken.append((effect, batches))

    def batches_of(self, effect: SendLog | AnswerLog) -> tuple[Batch, ...]:
        """Return the batches of this effect."""
        for taken, batches in reversed(self.taken):
            if taken is effect:
                return batches
        return ()


@dataclass
class Stage:
    """One script's world. ``captured`` are the messages taken off the wire, by name."""

    rules: Rules
    world: Manual = field(init=False)
    lines: list[str] = field(default_factory=list)
    raised: list[Exception] = field(default_factory=list)
    show_all: bool = False
    captured: dict[str, tuple[Flight, ...]] = field(default_factory=dict)
    captured_calls: dict[NodeId, tuple[MetaCall, ...]] = field(default_factory=dict)
    orders: dict[tuple[NodeId, int, int], str] = field(default_factory=dict)
    labels: dict[tuple[NodeId, int, int], str] = field(default_factory=dict)
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = Manual(observers=(self,), backend_type=ShowingBackend)

    def say(self, line: str) -> None:
        """Print a line outside of a step."""
        self.lines.append(line)

    def take_lines(self) -> list[str]:
        """Return the lines printed since the last call."""
        lines, self.lines = self.lines, []
        return lines

    # The observer's part: one step, its event and its effects.

    def after_step(self, host: Host, now: Micros, event: Event, effects: list[Effect]) -> None:
        """Print the step unless it is hidden; a broker's own checks must hold after it."""
        if isinstance(host.node, Broker):
            host.node.check()
        node = host.node_id
        for effect in effects:
            if isinstance(effect, fx.AppendLog | fx.FlushLog | fx.TruncateLog | fx.SaveState):
                self.orders[node, host.start, effect.op] = golden_lines.EFFECTS[type(effect)](
                    effect
                )
        if isinstance(event, ev.Called):
            self.labels[node, host.start, event.call] = golden_lines.label(event.request)
        shown = [line for effect in effects if (line := self._effect(host, effect))]
        if not self.show_all and not shown and self._is_hidden(event):
            return
        self.lines.append(f"{node} {self._event(host, event)}")
        self.lines += [f"  {node} {line}" for line in shown]
        crash_point = self.world.backend(node).crash_point
        if crash_point is not None and crash_point.effects_left == 0:
            self.lines.append(f"  {node} crashes before the rest of its effects")

    def _event(self, host: Host, event: Event) -> str:
        if isinstance(event, ev.DiskDone):
            if isinstance(event.result, ev.Shipped):
                return f"shipped up to {event.result.end}"
            if isinstance(event.result, ev.NotShipped):
                return "did not ship"
            order = self.orders[host.node_id, host.start, event.op]
            return f"{order}: {'no space' if isinstance(event.result, ev.NoSpace) else 'done'}"
        return golden_lines.EVENTS[type(event)](event)

    def _effect(self, host: Host, effect: Effect) -> str:
        """Return the effect's line, empty if hidden."""
        if isinstance(effect, SendLog):
            what = with_batches(effect.header, self._taken(host, effect))
            return f"-> {effect.peer} {golden_lines.sent(what)}"
        if isinstance(effect, fx.Answer | AnswerLog):
            label = self.labels[host.node_id, host.start, effect.call]
            if isinstance(effect, fx.Answer):
                return f"answers {label}: {golden_lines.answered(effect.result)}"
            found = with_records(effect.header, self._taken(host, effect))
            return f"answers {label}: {golden_lines.answered(found)}"
        if not self.show_all:
            if isinstance(effect, fx.SetTimer | fx.CancelTimer):
                return ""
            if isinstance(effect, fx.CallMeta) and isinstance(effect.request, RenewLease | Publish):
                return ""
            if isinstance(effect, fx.Observe) and _is_hidden_note(effect.note):
                return ""
            if isinstance(effect, fx.SaveState) and effect.key == "hw":
                return ""
        return golden_lines.EFFECTS[type(effect)](effect)

    def _taken(self, host: Host, effect: SendLog | AnswerLog) -> tuple[Batch, ...]:
        place = self.world.nodes[host.node_id]
        assert isinstance(place, ShowingBackend)
        return place.batches_of(effect)

    def _is_hidden(self, event: Event) -> bool:
        return isinstance(event, ev.DiskDone | ev.TimerFired | ev.MetaReply)

    # Pictures.

    def status(self, node: NodeId) -> str:
        """Return the status line of a node."""
        place = self.world.nodes[node]
        if place.host is None:
            disk = place.disk.image
            why = "not started" if place.starts == 0 else place.reason
            if why not in ("not started", "crash", "kill", "exit"):
                why = "halted"
            return f"{node} down ({why}) disk={disk.log_start}..{disk.leo}"
        broker = place.host.node
        if not isinstance(broker, Broker):
            return f"{node} {broker.snapshot().kind}"
        if broker.phase != "running":
            return f"{node} {broker.phase}"
        text = f"{node} {broker.role:8} e{broker.epoch} end={broker.log.leo} hw={broker.hw}"
        leading = broker.leading
        if leading is None:
            return f"{text} leader={broker.leader or '-'}"
        assert broker.partition is not None
        text += f" isr={golden_lines.nodes(broker.partition.isr)}"
        if broker.pending_isr is not None:
            text += f" pending={golden_lines.nodes(broker.pending_isr)}"
        for peer, progress in leading.progress.items():
            match = "?" if progress.match < 0 else str(progress.match)
            text += f" {peer}:{progress.state}:{match}"
        return text

    def log(self, node: NodeId) -> str:
        """Return the node's log after all issued disk effects."""
        place = self.world.nodes[node]
        image = place.disk.tail
        return f"{node} log {image.log_start}: {golden_lines.batches(tuple(image.batches))}"

    def epochs(self, node: NodeId) -> str:
        """Return the node's epoch index."""
        host = self.world.nodes[node].host
        if host is None or not isinstance(host.node, Broker):
            return f"{node} down"
        entries = (f"{epoch}@{start}" for epoch, start in host.node.log.epochs.entries())
        return f"{node} epochs {' '.join(entries) or '-'}"

    def flight(self, flight: Flight) -> str:
        """Return the line of a message in flight."""
        return f"{flight.src} -> {flight.dst} {golden_lines.sent(flight.message)}"


def _is_hidden_note(note: Note) -> bool:
    return type(note).__name__ in HIDDEN_NOTES
