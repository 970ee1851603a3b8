"""The named values that a broker keeps on its disk, and how they are read back; never does I/O.

Each is written whole by one SaveState. A value that cannot be read is damage: it is reported as a
sentence, and the broker halts instead of guessing.
"""

from __future__ import annotations

from typing import Final

from yak_core.config import FlushMode, flush_mode
from yak_core.ids import BrokerEpoch, Offset, Stamp
from yak_core.metadata.partition_state import (
    PartitionState,
    PartitionStateError,
    decode_partition_state,
)
from yak_core.value import value

RECORD_KEY: Final = "record"
"""The newest record that was seen."""
HW_KEY: Final = "hw"
"""A lower bound of the high watermark."""
CLEAN_KEY: Final = "clean"
"""The clean marker: incarnation and log end of a stop in good order."""
CLAIMS_KEY: Final = "claims"
"""The flush mode of this start, and the registrations that this disk has claimed."""


@value
class Saved:
    """What the last starts left behind. ``flush`` is None on a new disk."""

    state: PartitionState | None = None
    hw: Offset = 0
    clean_shutdown: tuple[BrokerEpoch, Offset] | None = None
    flush: FlushMode | None = None
    claims: tuple[Stamp, ...] = ()


def read_saved(pairs: tuple[tuple[str, bytes], ...]) -> Saved | str:
    """The values, or a sentence about the one that is damaged."""
    values = dict(pairs)
    key = RECORD_KEY
    try:
        state = values.get(RECORD_KEY)
        decoded = None if state is None else decode_partition_state(state)
        key = HW_KEY
        hw = int(values.get(HW_KEY, b"0"))
        key = CLEAN_KEY
        value = values.get(CLEAN_KEY)
        stopped = None if value is None else _read_clean_shutdown(value)
        key = CLAIMS_KEY
        flush, claims = _read_claims(values.get(CLAIMS_KEY, b""))
    except (PartitionStateError, ValueError) as error:
        return (
            f"the saved value {key!r} is damaged ({error}): "
            "start this broker on an empty data directory, so that it copies from its peers"
        )
    return Saved(decoded, hw, stopped, flush, claims)


def claims_value(flush: FlushMode, claims: tuple[Stamp, ...]) -> bytes:
    """The bytes that :func:`read_saved` takes apart again."""
    lines = (flush, *(f"{partition_epoch} {attempt}" for partition_epoch, attempt in claims))
    return "\n".join(lines).encode()


def clean_shutdown_value(broker_epoch: BrokerEpoch, leo: Offset) -> bytes:
    """The bytes of a clean marker."""
    return f"{broker_epoch} {leo}".encode()


def _read_clean_shutdown(value: bytes) -> tuple[BrokerEpoch, Offset]:
    broker_epoch, leo = value.split()
    return (BrokerEpoch(int(broker_epoch)), int(leo))


def _read_claims(value: bytes) -> tuple[FlushMode | None, tuple[Stamp, ...]]:
    lines = value.decode().split("\n")
    claims: list[Stamp] = []
    for line in lines[1:]:
        partition_epoch, attempt = line.split()
        claims.append((int(partition_epoch), attempt))
    return (flush_mode(lines[0]) if lines[0] else None, tuple(claims))
