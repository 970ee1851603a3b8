"""The codec between messages and the binary frames of a WebSocket.

One frame holds one message; :mod:`yak_core.wire.layouts` has the layout of each. Batches are the
last field of a frame. They are contiguous and have the same bytes as on a disk.

The receiver checks the CRC of a batch once per network hop: the leader checks the batch of a
producer, the follower the batches of the leader, the consumer the batches of a broker. A broker
does not check a batch again when it writes it to its disk or reads it from there: recovery checks
the disk, and the next receiver detects later damage. The CRC does not cover base offset and leader
epoch; a follower compares them with the message and with its own log.

Decoding copies each batch once, because a slice would keep the whole frame in memory. Encoding
copies a batch only to join the parts of the frame, and to write its position if it changed.
"""

from __future__ import annotations

from typing import Final, cast

from yak_core.batch import BATCH_BYTES_MAX, HEADER_BYTES, Batch, BatchError, parse, scan, stamped
from yak_core.batch.header import HEADER, LENGTH_EXCLUDES, Buffer
from yak_core.contract.messages import Message
from yak_core.wire.layouts import BATCH, LAYOUTS, VERSION, CodecError, Layout

__all__ = ["FRAME_BYTES_MAX", "CodecError", "decode", "encode"]

FRAME_BYTES_MAX: Final = 2 * BATCH_BYTES_MAX
"""Maximum size of a frame in bytes, to be set as the limit of the WebSocket."""

_CORRELATION: Final = slice(2, 10)
_BY_TYPE: Final = {layout.cls: layout for layout in LAYOUTS}
_BY_TAG: Final = {layout.tag: layout for layout in LAYOUTS}
assert len(_BY_TAG) == len(_BY_TYPE) == len(LAYOUTS), "two messages share a class or a type number"


def encode(message: Message) -> bytes:
    """Encode a message as one frame.

    Raises ValueError for a message that cannot be encoded: a number out of range, an id that is too
    long, a batch without data, a batch that is not sealed, or a frame above FRAME_BYTES_MAX.
    """
    layout = _BY_TYPE[type(message)]
    values = layout.get(message)
    batches: list[bytes] = []
    if layout.payload >= 0:
        found = values[layout.payload]
        if layout.kinds[layout.payload] is BATCH:
            found = (found,)
        batches = [_bytes_of(batch) for batch in cast(tuple[Batch, ...], found)]
    size = sum(map(len, batches))
    head = layout.head(values, size)
    if len(head) + size > FRAME_BYTES_MAX:
        raise ValueError(f"frame too large: {len(head) + size} bytes, maximum {FRAME_BYTES_MAX}")
    return b"".join((head, *batches))


def decode(frame: Buffer) -> Message:
    """Decode a whole frame and check the CRC of each batch in it.

    Raises CodecError, and no other error, for bytes that are not one valid frame.
    """
    view = frame if type(frame) is bytes else memoryview(frame).cast("B")
    layout = _layout(view)
    try:
        values, at = layout.values(view)
        payload = layout.payload
        length = 0 if payload < 0 else cast(int, values[payload])
        if at + length != len(view):
            raise CodecError(f"frame declares {at + length} bytes, got {len(view)}")
        if payload >= 0:
            batches = _batches(view, at)
            values[payload] = batches
            if layout.kinds[payload] is BATCH:
                if len(batches) != 1:
                    raise CodecError(f"expected 1 batch, got {len(batches)}")
                values[payload] = batches[0]
    except CodecError as error:
        raise _with_message_type(error, layout, view) from None
    return cast(Message, layout.make(*values))


def _layout(view: Buffer) -> Layout:
    """Return the layout that the type and version of a frame select."""
    size = len(view)
    if size < 2:
        raise CodecError(f"frame too short: {size} bytes, need 2")
    if size > FRAME_BYTES_MAX:
        raise CodecError(f"frame too large: {size} bytes, maximum {FRAME_BYTES_MAX}")
    layout = _BY_TAG.get(view[0])
    if layout is None:
        raise CodecError(f"unknown message type {view[0]}")
    if view[1] != VERSION:
        raise CodecError(
            f"{layout.cls.__name__} has version {view[1]}, this version of YAK reads only {VERSION}"
        )
    return layout


def _batches(view: Buffer, at: int) -> tuple[Batch, ...]:
    """Read the batches from position ``at`` to the end of the frame."""
    try:
        return tuple(scan(view, at))
    except BatchError as error:
        damage = CodecError(str(error))
        damage.damaged = True
        raise damage from None


def _with_message_type(error: CodecError, layout: Layout, view: Buffer) -> CodecError:
    """Return ``error`` with the type of the message and its correlation number."""
    explained = CodecError(f"invalid {layout.cls.__name__} frame: {error}")
    explained.kind = layout.cls
    explained.damaged = error.damaged
    if layout.names[0] == "correlation" and len(view) >= _CORRELATION.stop:
        explained.correlation = int.from_bytes(view[_CORRELATION], "big", signed=True)
    return explained


def _bytes_of(batch: Batch) -> bytes:
    """Return the bytes of the batch with its position; they are copied only to change it.

    Raises ValueError if the handle and the bytes disagree, or the batch is not sealed.
    """
    data = batch.data
    if not HEADER_BYTES < len(data) == batch.size:
        raise ValueError(f"{batch!r} must have {batch.size} bytes of data, got {len(data)}")
    _, length, _, _, crc, _, _, _, time, pid, pepoch, seq, count = HEADER.unpack_from(data)
    if (crc, time, pid, pepoch, seq, count, length + LENGTH_EXCLUDES) != (
        batch.crc,
        batch.max_timestamp,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        batch.count,
        batch.size,
    ):
        raise ValueError(f"the fields of {batch!r} differ from its bytes; seal the batch first")
    if crc == 0:  # Either the batch is not sealed, or its CRC is 0 (one batch in 2**32).
        _check_sealed(batch)
    if not (0 <= batch.base_offset < 2**63 and -1 <= batch.epoch < 2**31):
        raise ValueError(f"the position of {batch!r} is out of range")
    return stamped(batch)


def _check_sealed(batch: Batch) -> None:
    try:
        parse(batch.data)
    except BatchError as error:
        raise ValueError(f"{batch!r} is not sealed: {error}") from None
