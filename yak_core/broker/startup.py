"""The start of a broker: delete the clean marker, read the partition state, register.

The clean marker is read and deleted durably first. Otherwise, a crash during start-up would look
like a clean stop at the next start (F63). Then the broker reads the partition state and registers
with a new broker epoch. After a clean stop it keeps its place in ISR and ELR; after an unclean stop
it leaves both until it has caught up (R17, KIP-966).

An empty disk or an old copy of a disk looks intact. So each registration is saved on the disk, as a
claim, before it is sent to the store. If the registered broker epoch of this node is not among the
claims, it was registered from another disk, and the start is unclean.

A claim contains the storage session of its start. A start that is not registered yet adds its claim
and does not change the claim of the registered start. Otherwise, a start after a power failure that
ends before its registration would vouch for the records that the power failure lost.
"""

from __future__ import annotations

from typing import Final

from yak_core.broker.context import Context
from yak_core.broker.replica_log import Log
from yak_core.broker.saved_state import (
    CLAIMS_KEY,
    CLEAN_MARKER_KEY,
    Claim,
    SavedValues,
    claims_value,
)
from yak_core.broker.store_session import EMPTIED, Proposal, StoreSession
from yak_core.config import FlushMode
from yak_core.contract.effects import SaveState
from yak_core.contract.events import Recovered
from yak_core.contract.notes import Registered
from yak_core.ids import BrokerEpoch, Offset, OpId
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import ProposalKind
from yak_core.metadata.transitions import Rejected, create, register
from yak_core.rules import RestartFacts

CLAIMS_MAX: Final = 8


class Startup:
    """The state of a start until its registration."""

    __slots__ = (
        "claim_op", "claimed", "claims", "clean", "context", "flush", "intact", "log",
        "clean_shutdown_epoch", "clean_shutdown_leo", "clean_shutdown_op", "session",
        "storage_session",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        log: Log,
        session: StoreSession,
        recovered: Recovered,
        saved: SavedValues,
    ) -> None:
        assert "\n" not in recovered.storage_session, "a storage session has no line breaks"
        self.context = context
        self.log = log
        self.session = session
        self.intact = recovered.intact
        self.storage_session = recovered.storage_session
        self.clean_shutdown_epoch: BrokerEpoch = BrokerEpoch(0)
        self.clean_shutdown_leo: Offset = 0
        self.clean_shutdown_op: OpId = OpId(0)
        self.claim_op: OpId = OpId(0)
        self.claimed: tuple[PartitionState | None, PartitionState] | None = None
        self.clean = False
        self.claims = saved.claims
        # Acks of the last start mean flushed only if that start also had flush=batch.
        same_flush = saved.flush in (None, context.config.flush)
        self.flush: FlushMode = context.config.flush if same_flush else "os"
        if saved.clean_shutdown is not None:
            self.clean_shutdown_epoch, self.clean_shutdown_leo = saved.clean_shutdown
            self.clean_shutdown_op = OpId(-1)

    def begin(self) -> bool:
        """Delete the marker and return False; without a marker, read the state and return True."""
        if self.clean_shutdown_op:
            self.clean_shutdown_op = self.context.new_op()
            self.context.emit(SaveState(self.clean_shutdown_op, CLEAN_MARKER_KEY, None))
            return False
        self.session.read_state()
        return True

    def on_saved(self, op: OpId, partition: PartitionState | None) -> bool | str:
        """Handle a completed SaveState; return whether this part issued it, or a halt reason.

        After the deletion of the marker, the partition state is read. After a claim, the
        registration is sent. If a newer partition state was seen since, it needs a new claim.
        """
        if op == self.clean_shutdown_op != 0:
            self.clean_shutdown_op = OpId(0)
            self.session.read_state()
            return True
        if op != self.claim_op or self.claimed is None:
            return False
        base, state = self.claimed
        self.claim_op, self.claimed = OpId(0), None
        if self.session.proposal is not None:
            return True
        if base is partition:
            self.session.propose(
                ProposalKind.CREATE if base is None else ProposalKind.REGISTER, base, state, None
            )
        elif partition is not None:
            outcome = self.on_state(partition, None)
            return outcome if isinstance(outcome, str) else True
        return True

    def on_empty_store(self) -> str | None:
        """Handle a store without a partition state; return a halt reason or None.

        The broker creates the partition state if its configuration allows it, else it reads again.
        """
        if self.session.seen is not None:
            return EMPTIED
        if self.log.leo > 0:
            return (
                f"the metadata store is empty, but the log end offset is {self.log.leo}; "
                "restore the store, or start this broker with an empty data directory"
            )
        config = self.context.config
        if not config.creates:
            self.session.read_state_later()
        elif self.session.proposal is None and self.claimed is None:
            self.clean = True
            state = create(
                store_id=f"{self.context.nonce:032x}",
                attempt=self.context.new_attempt(),
                node=self.context.node,
                url=config.url,
                peer_url=config.peer_url,
                replicas=tuple(sorted(config.replicas)),
                min_isr=config.min_isr,
            )
            self._save_claim(None, state)
        return None

    def on_state(
        self, state: PartitionState, resolved: tuple[Proposal, bool] | None
    ) -> BrokerEpoch | str | None:
        """Handle the current partition state during the start.

        Return the broker epoch after the registration, a halt reason, or None while it is pending.
        """
        if resolved is not None and resolved[1]:
            broker_epoch = BrokerEpoch(resolved[0].request.state.partition_epoch)
            self.context.note(Registered(broker_epoch, self.clean))
            self.claims = (Claim(resolved[0].request.state.stamp, self.storage_session),)
            value = claims_value(self.context.config.flush, self.claims)
            self.context.emit(SaveState(self.context.new_op(), CLAIMS_KEY, value))
            return broker_epoch
        if self.session.proposal is not None or self.claimed is not None:
            return None
        self.clean = self.context.rules.is_clean(self._facts(state))
        next_state = register(
            state,
            attempt=self.context.new_attempt(),
            node=self.context.node,
            clean=self.clean,
            url=self.context.config.url,
            peer_url=self.context.config.peer_url,
        )
        if isinstance(next_state, Rejected):
            return f"cannot register {self.context.node}: {next_state.reason}"
        self._save_claim(state, next_state)
        return None

    def _facts(self, state: PartitionState) -> RestartFacts:
        registered = state.broker_epoch_of(self.context.node)
        claims = self._claims_of(registered, state)
        sessions = dict.fromkeys(claim.storage_session for claim in claims)
        return RestartFacts(
            same_disk=registered == 0 or bool(claims),
            clean_shutdown_epoch=self.clean_shutdown_epoch,
            clean_shutdown_leo=self.clean_shutdown_leo,
            recorded_broker_epoch=registered,
            leo=self.log.leo,
            flush=self.flush,
            intact=self.intact,
            storage_session=self.storage_session,
            registered_session=next(iter(sessions)) if len(sessions) == 1 else "",
        )

    def _claims_of(self, registered: BrokerEpoch, state: PartitionState) -> tuple[Claim, ...]:
        """Return the claims of this disk that may have written this registration.

        At most one, unless ``state`` no longer has the stamp of the registration: then all claims
        with its partition epoch, of which one was applied.
        """
        for stamp in (state.stamp, *state.ancestors):
            if stamp[0] == registered:
                return tuple(claim for claim in self.claims if claim.stamp == stamp)
        return tuple(claim for claim in self.claims if claim.stamp[0] == registered)

    def _save_claim(self, base: PartitionState | None, state: PartitionState) -> None:
        """Save the claim for the registration of ``state`` on the disk."""
        self.claimed = (base, state)
        registered = 0 if base is None else base.broker_epoch_of(self.context.node)
        proven = tuple(claim for claim in self.claims if claim.stamp[0] == registered)
        others = tuple(claim for claim in self.claims if claim.stamp[0] != registered)
        # Keep the claim of the registered broker epoch; drop only the oldest of the others.
        self.claims = (*proven, *others[-CLAIMS_MAX:], Claim(state.stamp, self.storage_session))
        self.claim_op = self.context.new_op()
        # Until this start is registered, the weaker flush mode of the two starts is saved.
        value = claims_value(self.flush, self.claims)
        self.context.emit(SaveState(self.claim_op, CLAIMS_KEY, value))
