"""Decompression of batches for answers in JSON, outside of the event loop.

A broker passes compressed batches on as they are. Only an answer with their records decompresses
them, two batches at the same time in all requests (:func:`yak_net.http.request_parsing.offload`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from yak_core.batch import Batch, BatchError, Codec, codec_of
from yak_net.compression import BROKER_SECTION_BYTES_MAX, plain_in_broker
from yak_net.http.request_parsing import offload

ANSWER_BYTES_MAX: Final = 4 << 20
"""Bytes of decompressed batches of one answer, unless one batch alone is larger."""


class Plain(NamedTuple):
    """Uncompressed batches; ``error`` says why the batch after them cannot be decompressed."""

    batches: tuple[Batch, ...]
    error: BatchError | None


async def decompress(batches: tuple[Batch, ...], bytes_max: int) -> Plain:
    """Return uncompressed batches of at most ``bytes_max`` together, but at least the first one.

    ANSWER_BYTES_MAX is a limit, too. They are all ``batches`` if none is compressed: these have
    passed a limit already.
    """
    if all(codec_of(batch) is Codec.NONE for batch in batches):
        return Plain(batches, None)
    most = min(bytes_max, ANSWER_BYTES_MAX)
    return await offload(BROKER_SECTION_BYTES_MAX, _decompress, batches, most)


def _decompress(batches: tuple[Batch, ...], bytes_max: int) -> Plain:
    found: list[Batch] = []
    size = 0
    for batch in batches:
        try:
            plain = plain_in_broker(batch)
        except BatchError as error:
            return Plain(tuple(found), error)
        size += plain.size
        if found and size > bytes_max:
            break
        found.append(plain)
    return Plain(tuple(found), None)
