"""Messages to the binary frames of a WebSocket, and back; must never decide what a message means.

One frame is one message; :mod:`yak_core.wire.layouts` has the layout of each. Batches come last in
a frame and in one piece, as they lie on a disk.

The CRC of a batch is checked once a hop over the network, by whoever is going to keep or use the
bytes: a leader checks a producer's batch, a follower what the leader sent before it appends that,
a consumer what a broker answered. Nobody checks again what he writes to his disk or ships from
there: recovery checks a disk, and the next hop finds what has gone bad since. Base offset and
leader epoch lie outside the CRC: a follower compares them with the message and with its own log.

Decoding copies a batch once, out of the frame into bytes of its own: it outlives the frame, all of
which a slice would keep in memory. Encoding copies no batch before the final join, unless it has to
be stamped with its position.
"""

from __future__ import annotations

from typing import Final, cast

from yak_core.batch import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    Batch,
    BatchError,
    parse,
    scan,
    stamped,
)
from yak_core.batch.header import HEADER, LENGTH_EXCLUDES, Buffer
from yak_core.contract.messages import Message
from yak_core.wire.layouts import BATCH, LAYOUTS, VERSION, CodecError, Layout

__all__ = ["FRAME_BYTES_MAX", "CodecError", "decode", "encode"]

FRAME_BYTES_MAX: Final = 2 * BATCH_BYTES_MAX
"""No frame is longer: the limit to give to a WebSocket."""

_CORRELATION: Final = slice(2, 10)
_BY_TYPE: Final = {layout.cls: layout for layout in LAYOUTS}
_BY_TAG: Final = {layout.tag: layout for layout in LAYOUTS}
assert len(_BY_TAG) == len(_BY_TYPE) == len(LAYOUTS), "each message has a number of its own"


def encode(message: Message) -> bytes:
    """``message`` as one frame.

    Raises ValueError for a message that does not fit into a frame, with a sentence: a number out
    of its range, an id that is too long, a batch without its bytes or not sealed.
    """
    layout = _BY_TYPE[type(message)]
    values = layout.get(message)
    batches: list[bytes] = []
    if layout.payload >= 0:
        held = values[layout.payload]
        if layout.kinds[layout.payload] is BATCH:
            held = (held,)
        batches = [_shipped(batch) for batch in cast(tuple[Batch, ...], held)]
    size = sum(map(len, batches))
    head = layout.head(values, size)
    if len(head) + size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame has {FRAME_BYTES_MAX} bytes at most, not {len(head) + size}")
    return b"".join((head, *batches))


def decode(frame: Buffer) -> Message:
    """The message that ``frame`` is, all of it, with the CRC of each batch checked.

    Raises CodecError, and nothing else, if it is none.
    """
    view = frame if type(frame) is bytes else memoryview(frame).cast("B")
    layout = _layout(view)
    try:
        values, at = layout.values(view)
        payload = layout.payload
        length = 0 if payload < 0 else cast(int, values[payload])
        if at + length != len(view):
            raise CodecError(f"it announces {at + length} bytes and has {len(view)}")
        if payload >= 0:
            batches = _batches(view, at)
            values[payload] = batches
            if layout.kinds[payload] is BATCH:
                if len(batches) != 1:
                    raise CodecError(f"it has {len(batches)} batches instead of one")
                values[payload] = batches[0]
    except CodecError as error:
        raise _explained(error, layout, view) from None
    return cast(Message, layout.make(*values))


def _layout(view: Buffer) -> Layout:
    """The layout that a frame names in its first two bytes."""
    size = len(view)
    if size < 2:
        raise CodecError(f"a frame of {size} bytes does not say what it is")
    if size > FRAME_BYTES_MAX:
        raise CodecError(f"a frame has {FRAME_BYTES_MAX} bytes at most, not {size}")
    layout = _BY_TAG.get(view[0])
    if layout is None:
        raise CodecError(f"there is no message of type {view[0]}")
    if view[1] != VERSION:
        raise CodecError(
            f"version {view[1]} of {layout.cls.__name__} is not known here, only {VERSION} is"
        )
    return layout


def _batches(view: Buffer, at: int) -> tuple[Batch, ...]:
    """The batches from ``at`` to the end."""
    try:
        return tuple(scan(view, at))
    except BatchError as error:
        damage = CodecError(str(error))
        damage.damaged = True
        raise damage from None


def _explained(error: CodecError, layout: Layout, view: Buffer) -> CodecError:
    """``error`` with the message that it is about."""
    whole = CodecError(f"a {layout.cls.__name__} frame is broken: {error}")
    whole.kind = layout.cls
    whole.damaged = error.damaged
    if layout.names[0] == "correlation" and len(view) >= _CORRELATION.stop:
        whole.correlation = int.from_bytes(view[_CORRELATION], "big", signed=True)
    return whole


def _shipped(batch: Batch) -> bytes:
    """The bytes of the batch with its position; they are not copied if it is there."""
    data = batch.data
    if not HEADER_BYTES < len(data) == batch.size:
        raise ValueError(f"{batch!r} is a header without its bytes")
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
        raise ValueError(f"{batch!r} is not what its bytes say: seal it first")
    if crc == 0:  # of an unsealed batch, or once in four billion
        _check_sealed(batch)
    if not (0 <= batch.base_offset < 2**63 and -1 <= batch.epoch < 2**31):
        raise ValueError(f"{batch!r} has no place in a log")
    return stamped(batch)


def _check_sealed(batch: Batch) -> None:
    try:
        parse(batch.data)
    except BatchError as error:
        raise ValueError(f"{batch!r} is not sealed: {error}") from None
