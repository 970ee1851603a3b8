"""Encoding and decoding of the named values that a broker saves on its disk.

Each SaveState writes one complete value. If a value cannot be decoded, the broker halts with an
error message.
"""

from __future__ import annotations

from typing import Final

from yak_core.config import FlushMode, flush_mode
from yak_core.ids import BrokerEpoch, NodeId, Offset, Stamp
from yak_core.metadata.partition_state import (
    PartitionState,
    PartitionStateError,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.value import value

STATE_KEY: Final = "record"
"""The newest partition state that this broker has seen."""
HW_KEY: Final = "hw"
"""A lower bound of the high watermark."""
CLEAN_MARKER_KEY: Final = "clean"
"""The clean marker: broker epoch and log end offset of a clean stop."""
CLAIMS_KEY: Final = "claims"
"""The flush mode, and the claims of the registrations sent from this disk."""

CLAIMS_VERSION: Final = 2
"""Version 1 had no version number and no storage sessions."""


@value
class Claim:
    """A registration that was sent from this disk, and the storage session of its start."""

    stamp: Stamp
    storage_session: str = ""


@value
class SavedValues:
    """The decoded values of the earlier starts; ``flush`` is None on a new disk."""

    state: PartitionState | None = None
    hw: Offset = 0
    clean_shutdown: tuple[BrokerEpoch, Offset] | None = None
    flush: FlushMode | None = None
    claims: tuple[Claim, ...] = ()


class _NewerVersion(ValueError):
    """A saved value was written by a newer version of YAK."""


def read_saved(pairs: tuple[tuple[str, bytes], ...]) -> SavedValues | str:
    """Return the decoded values, or an error message about the damaged value."""
    values = dict(pairs)
    key = STATE_KEY
    try:
        state = values.get(STATE_KEY)
        decoded = None if state is None else decode_partition_state(state)
        key = HW_KEY
        hw = int(values.get(HW_KEY, b"0"))
        key = CLEAN_MARKER_KEY
        value = values.get(CLEAN_MARKER_KEY)
        stopped = None if value is None else _read_clean_shutdown(value)
        key = CLAIMS_KEY
        flush, claims = _read_claims(values.get(CLAIMS_KEY, b""))
    except _NewerVersion as error:
        return f"the saved value {key!r} has {error}; use the newer version of YAK"
    except (PartitionStateError, ValueError) as error:
        return (
            f"the saved value {key!r} is damaged ({error}); "
            "start this broker with an empty data directory, so that it copies the log from a peer"
        )
    return SavedValues(decoded, hw, stopped, flush, claims)


def claims_value(flush: FlushMode, claims: tuple[Claim, ...]) -> bytes:
    """Return the encoded flush mode and claims, for ``CLAIMS_KEY``.

    The lines are: version and flush mode, then partition epoch, attempt id and storage session of
    each claim.
    """
    lines = [f"{CLAIMS_VERSION} {flush}"]
    for claim in claims:
        partition_epoch, attempt = claim.stamp
        lines.append(f"{partition_epoch} {attempt} {claim.storage_session}")
    return "\n".join(lines).encode()


def values_of_new_store(
    state: PartitionState, node: NodeId, flush: FlushMode, hw: Offset, leo: Offset
) -> tuple[tuple[str, bytes], ...]:
    """Return the saved values with which ``node`` starts clean in the first ``state`` of a store.

    The log of ``node`` is kept as it is, after a recovery with loss; see
    :func:`yak_core.metadata.recovery.accept_loss`. All of the log must be flushed.
    """
    registered = state.broker_epoch_of(node)
    return (
        (CLAIMS_KEY, claims_value(flush, (Claim(state.stamp),))),
        (CLEAN_MARKER_KEY, clean_shutdown_value(registered, leo)),
        (HW_KEY, str(min(hw, leo)).encode()),
        (STATE_KEY, encode_partition_state(state)),
    )


def clean_shutdown_value(broker_epoch: BrokerEpoch, leo: Offset) -> bytes:
    """Return the encoded clean marker, for ``CLEAN_MARKER_KEY``."""
    return f"{broker_epoch} {leo}".encode()


def _read_clean_shutdown(value: bytes) -> tuple[BrokerEpoch, Offset]:
    broker_epoch, leo = value.split()
    return (BrokerEpoch(int(broker_epoch)), int(leo))


def _read_claims(value: bytes) -> tuple[FlushMode | None, tuple[Claim, ...]]:
    first, *lines = value.decode().split("\n")
    if not first:
        return (None, ())
    version, _, flush = first.rpartition(" ")
    if version and int(version) > CLAIMS_VERSION:
        raise _NewerVersion(
            f"version {int(version)}, this version of YAK reads up to {CLAIMS_VERSION}"
        )
    claims: list[Claim] = []
    for line in lines:
        partition_epoch, attempt, *session = line.split(" ", 2)
        if len(session) != bool(version):
            raise ValueError(f"expected {2 + bool(version)} words in the claim, got {line!r}")
        claims.append(Claim((int(partition_epoch), attempt), *session))
    return (flush_mode(flush), tuple(claims))
