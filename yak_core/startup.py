"""How a broker comes back: marker, record, registration; must never let it take part before that.

The clean marker is read and deleted durably before anything else, so that a crash during start-up
cannot be taken for a clean stop the next time (F63). Then the record is read, and this life is
registered as a new incarnation: clean ones keep their place in ISR and ELR, unclean ones leave
both until they have caught up (R17, KIP-966).
"""

from __future__ import annotations

from typing import Final

from yak_core.desk import Desk
from yak_core.effects import SaveState
from yak_core.ids import Incarnation, Offset, OpId
from yak_core.log.index import Log
from yak_core.metadata.record import Record
from yak_core.metadata.session import Proposal, Session
from yak_core.metadata.transitions import Rejected, create, register
from yak_core.notes import Registered
from yak_core.rules import CleanView

CLEAN_KEY: Final = "clean"
CREATE: Final = "create"
REGISTER: Final = "register"


class Startup:
    """What is remembered of the last life until this one is registered."""

    __slots__ = ("desk", "log", "session", "intact", "marker", "marker_leo", "marker_op", "clean")

    def __init__(
        self, desk: Desk, log: Log, session: Session, intact: bool, marker: bytes | None
    ) -> None:
        self.desk = desk
        self.log = log
        self.session = session
        self.intact = intact
        self.marker: Incarnation = 0
        self.marker_leo: Offset = 0
        self.marker_op: OpId = 0
        self.clean = False
        if marker is not None:
            incarnation, leo = marker.split()
            self.marker, self.marker_leo = int(incarnation), int(leo)
            self.marker_op = -1

    def begin(self) -> bool:
        """Delete the marker, or read the record at once if there is none (True)."""
        if self.marker_op:
            self.marker_op = self.desk.op()
            self.desk.emit(SaveState(self.marker_op, CLEAN_KEY, None))
            return False
        self.session.order_read()
        return True

    def on_marker_deleted(self, op: OpId) -> bool:
        """True if this completion was the marker's: the record is read now."""
        if op != self.marker_op or op == 0:
            return False
        self.marker_op = 0
        self.session.order_read()
        return True

    def on_absent(self) -> str | None:
        """The store holds no record: create it, wait for somebody to, or say why to halt."""
        if self.session.seen is not None:
            return "the metadata store was emptied: it holds no record any more"
        if self.log.leo > 0:
            return (
                "the log holds records but the metadata store holds no record: "
                "restore the store, or start this broker on an empty data directory"
            )
        config = self.desk.config
        if config.creates and self.session.proposal is None:
            attempt = self.desk.attempt()
            self.clean = True
            record = create(
                store_id=f"{self.desk.nonce:032x}",
                attempt=attempt,
                node=self.desk.node,
                url=config.url,
                replicas=tuple(sorted(config.replicas)),
                min_isr=config.min_isr,
            )
            self.session.propose(CREATE, None, record, None)
        else:
            self.session.read_again()
        return None

    def on_record(
        self, record: Record, settled: tuple[Proposal, bool] | None
    ) -> Incarnation | str | None:
        """The record as it is now: the incarnation once registered, a reason to halt, or None."""
        if settled is not None and settled[1]:
            incarnation = settled[0].request.record.version
            self.desk.note(Registered(incarnation, self.clean))
            return incarnation
        if self.session.proposal is not None:
            return None
        self.clean = self.desk.rules.is_clean(
            CleanView(
                marker=self.marker,
                marker_leo=self.marker_leo,
                recorded_incarnation=record.incarnation_of(self.desk.node),
                leo=self.log.leo,
                flush=self.desk.config.flush,
                intact=self.intact,
            )
        )
        grown = register(
            record,
            attempt=self.desk.attempt(),
            node=self.desk.node,
            clean=self.clean,
            url=self.desk.config.url,
        )
        if isinstance(grown, Rejected):
            return f"registration is not possible: {grown.reason}"
        self.session.propose(REGISTER, record, grown, None)
        return None

    def fork(self, desk: Desk, log: Log, session: Session) -> Startup:
        """A copy on another desk, log and session."""
        other = Startup(desk, log, session, self.intact, None)
        other.marker = self.marker
        other.marker_leo = self.marker_leo
        other.marker_op = self.marker_op
        other.clean = self.clean
        return other
