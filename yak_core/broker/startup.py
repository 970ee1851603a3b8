"""How a broker comes back: marker, record, registration; must never let it take part before that.

The clean marker is read and deleted durably before anything else, so that a crash during start-up
cannot be taken for a clean stop the next time (F63). Then the record is read, and this life is
registered as a new incarnation: clean ones keep their place in ISR and ELR, unclean ones leave
both until they have caught up (R17, KIP-966).

A disk that was emptied, or replaced by an old copy, looks intact. So each registration is claimed
on the disk before it is sent: if the registered incarnation of this node is not among the claims,
it was registered from another disk, and this one is not clean.
"""

from __future__ import annotations

from typing import Final

from yak_core.broker.context import Desk
from yak_core.broker.replica_log import Log
from yak_core.broker.saved_state import CLAIMS_KEY, CLEAN_KEY, Saved, claims_value
from yak_core.broker.store_session import Proposal, Session
from yak_core.contract.effects import SaveState
from yak_core.contract.notes import Registered
from yak_core.ids import Incarnation, Offset, OpId
from yak_core.metadata.partition_state import Record
from yak_core.metadata.transitions import Rejected, create, register
from yak_core.rules import CleanView

CLAIMS_MAX: Final = 8
CREATE: Final = "create"
REGISTER: Final = "register"


class Startup:
    """What is remembered of the last life until this one is registered."""

    __slots__ = (
        "claim_op",
        "claimed",
        "claims",
        "clean",
        "desk",
        "flush",
        "intact",
        "log",
        "marker",
        "marker_leo",
        "marker_op",
        "session",
    )

    def __init__(
        self, desk: Desk, log: Log, session: Session, intact: bool, saved: Saved
    ) -> None:
        self.desk = desk
        self.log = log
        self.session = session
        self.intact = intact
        self.marker: Incarnation = 0
        self.marker_leo: Offset = 0
        self.marker_op: OpId = 0
        self.claim_op: OpId = 0
        self.claimed: tuple[Record | None, Record] | None = None
        self.clean = False
        self.claims = saved.claims
        # What the last life acknowledged was flushed only if that life flushed, too.
        self.flush = desk.config.flush if saved.flush in ("", desk.config.flush) else "os"
        if saved.marker is not None:
            self.marker, self.marker_leo = saved.marker
            self.marker_op = -1

    def begin(self) -> bool:
        """Delete the marker, or read the record at once if there is none (True)."""
        if self.marker_op:
            self.marker_op = self.desk.op()
            self.desk.emit(SaveState(self.marker_op, CLEAN_KEY, None))
            return False
        self.session.order_read()
        return True

    def on_saved(self, op: OpId, view: Record | None) -> bool | str:
        """A SaveState completed; True if it was this part's, or a reason to halt.

        The deletion of the marker: the record is read now. A claim: it is sent now, unless a newer
        record has been seen since, which needs a claim of its own.
        """
        if op == self.marker_op != 0:
            self.marker_op = 0
            self.session.order_read()
            return True
        if op != self.claim_op or self.claimed is None:
            return False
        base, record = self.claimed
        self.claim_op, self.claimed = 0, None
        if self.session.proposal is not None:
            return True
        if base is view:
            self.session.propose(CREATE if base is None else REGISTER, base, record, None)
        elif view is not None:
            outcome = self.on_record(view, None)
            return outcome if isinstance(outcome, str) else True
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
        if not config.creates:
            self.session.read_again()
        elif self.session.proposal is None and self.claimed is None:
            self.clean = True
            record = create(
                store_id=f"{self.desk.nonce:032x}",
                attempt=self.desk.attempt(),
                node=self.desk.node,
                url=config.url,
                replicas=tuple(sorted(config.replicas)),
                min_isr=config.min_isr,
            )
            self._claim(None, record)
        return None

    def on_record(
        self, record: Record, settled: tuple[Proposal, bool] | None
    ) -> Incarnation | str | None:
        """The record as it is now: the incarnation once registered, a reason to halt, or None."""
        if settled is not None and settled[1]:
            incarnation = settled[0].request.record.version
            self.desk.note(Registered(incarnation, self.clean))
            self.claims = (settled[0].request.record.stamp,)
            value = claims_value(self.desk.config.flush, self.claims)
            self.desk.emit(SaveState(self.desk.op(), CLAIMS_KEY, value))
            return incarnation
        if self.session.proposal is not None or self.claimed is not None:
            return None
        self.clean = self.desk.rules.is_clean(
            CleanView(
                same_disk=self._is_same_disk(record),
                marker=self.marker,
                marker_leo=self.marker_leo,
                recorded_incarnation=record.incarnation_of(self.desk.node),
                leo=self.log.leo,
                flush=self.flush,
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
        self._claim(record, grown)
        return None

    def _is_same_disk(self, record: Record) -> bool:
        """Was the registered incarnation of this node registered from this very disk?"""
        registered = record.incarnation_of(self.desk.node)
        if registered == 0:
            return True
        for stamp in (record.stamp, *record.ancestors):
            if stamp[0] == registered:
                return stamp in self.claims
        return any(version == registered for version, _ in self.claims)

    def _claim(self, base: Record | None, record: Record) -> None:
        """Note on the disk what is about to be asked of the store."""
        self.claimed = (base, record)
        registered = 0 if base is None else base.incarnation_of(self.desk.node)
        proven = tuple(claim for claim in self.claims if claim[0] == registered)
        others = tuple(claim for claim in self.claims if claim[0] != registered)
        # The claim that was granted is never the one that is forgotten.
        self.claims = (*proven, *others[-CLAIMS_MAX:], record.stamp)
        self.claim_op = self.desk.op()
        # The mode of the weaker life counts until this one is registered.
        value = claims_value(self.flush, self.claims)
        self.desk.emit(SaveState(self.claim_op, CLAIMS_KEY, value))

    def fork(self, desk: Desk, log: Log, session: Session) -> Startup:
        """A copy on another desk, log and session."""
        other = Startup(desk, log, session, self.intact, Saved())
        other.flush = self.flush
        other.marker = self.marker
        other.marker_leo = self.marker_leo
        other.marker_op = self.marker_op
        other.claim_op = self.claim_op
        other.claimed = self.claimed
        other.clean = self.clean
        other.claims = self.claims
        return other
