"""Coding errors outside of the rules, each with the check that detects it.

``SLIPS`` are detected by the broker's own checks. ``SESSION_SLIPS`` make a storage session vouch
for lost records, which only an invariant can see. Wrong decisions are the mutants of the rules.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from yak_core.broker.leader import Leader
from yak_core.broker.progress import Progress, ProgressState
from yak_core.broker.saved_state import Claim
from yak_core.broker.startup import Startup
from yak_core.broker.store_session import StoreSession
from yak_core.ids import Offset
from yak_core.manual.disk import ManualDisk
from yak_core.metadata.partition_state import PartitionState
from yak_core.metadata.store_calls import CallKind, Read


@dataclass(frozen=True)
class Slip:
    """A wrong method, and part of the message of the check."""

    owner: type
    method: str
    wrong: Callable[..., Any]
    sentence: str


def _acked_keeps_the_bytes(self: Progress, match: Offset) -> None:
    self.match = max(self.match, match)
    while self.inflight and self.inflight[0][0] <= self.match:
        self.inflight.popleft()
    if self.state is ProgressState.PROBE:
        self.begin_probe(self.match)
        self.state = ProgressState.REPLICATE
    elif self.next < self.match:
        self.next = self.match


def _maximal_forgets_the_proposal(self: Leader) -> None:
    self.maximal_isr = self.partition.isr


def _reads_twice(self: StoreSession) -> None:
    self._call(CallKind.READ, Read())


SLIPS: Final = {
    "acked bytes stay in flight": Slip(Progress, "acked", _acked_keeps_the_bytes, "inflight_bytes"),
    "the proposed ISR is forgotten": Slip(
        Leader, "_set_maximal_isr", _maximal_forgets_the_proposal, "maximal ISR"
    ),
    "a second read while one is open": Slip(
        StoreSession, "read_state", _reads_twice, "more than one read"
    ),
}


def _claims_take_the_present_session(
    self: Startup, base: PartitionState | None, state: PartitionState
) -> None:
    mine = self.storage_session
    self.claims = tuple(Claim(claim.stamp, mine) for claim in self.claims)
    _SAVE_CLAIM(self, base, state)


def _crash_keeps_the_session(self: ManualDisk, keep_unsynced: int) -> None:
    _CRASH(self, keep_unsynced)
    self.session -= 1


_SAVE_CLAIM: Final = Startup._save_claim
_CRASH: Final = ManualDisk.crash

SESSION_SLIPS: Final[dict[str, tuple[type, str, Callable[..., None]]]] = {
    "session refreshed at a start": (Startup, "_save_claim", _claims_take_the_present_session),
    "session kept after a loss": (ManualDisk, "crash", _crash_keeps_the_session),
}
"""(owner, method, wrong method)."""


def is_own_check(error: AssertionError) -> bool:
    """Return whether a ``check`` method of the broker raised this."""
    return any(frame.name == "check" for frame in traceback.extract_tb(error.__traceback__))
