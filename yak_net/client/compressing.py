"""Compression of the batches of a producer, and the size that the next batch may have."""

from __future__ import annotations

import sys
from typing import Final

from yak_core.batch import Batch, Codec, compressed
from yak_net.client.options import at_least
from yak_net.compression import LEVELS, compressor

COMPRESSION_TYPES: Final = ("none", *(codec.label for codec in LEVELS))
_SHARE: Final = 4
"""A better ratio counts one part in so many: a batch that is smaller than expected wastes room."""


class Compression:
    """Compresses batches; a batch whose records do not become smaller stays as it is.

    ``ratio`` is the expected size of a batch by its size before: 1 at first and without a codec. A
    worse ratio counts at once.
    """

    def __init__(self, name: str | None, level: int | None = None) -> None:
        """Raise ValueError for an unknown codec or level.

        Raise MissingExtra, an ImportError, if the package of the codec is not installed.
        """
        if name not in (None, *COMPRESSION_TYPES):
            raise ValueError(
                f"compression_type must be one of {', '.join(COMPRESSION_TYPES)}, got {name!r}"
            )
        self.codec = Codec[(name or "none").upper()]
        self.ratio = 1.0
        if level is not None:
            at_least(-sys.maxsize, compression_level=level)
        if self.codec is not Codec.NONE:
            self._compress = compressor(self.codec, level)
        elif level is not None:
            raise ValueError(
                f"compression_level {level} needs a codec; give compression_type, one of "
                f"{', '.join(COMPRESSION_TYPES[1:])}"
            )

    def room(self, bytes_wanted: int, bytes_max: int) -> int:
        """Return the bytes before compression of a batch that then has about ``bytes_wanted``.

        At most ``bytes_max``, so that the batch may also be sent as it is.
        """
        return max(bytes_wanted, min(bytes_max, round(bytes_wanted / self.ratio)))

    def apply(self, built: Batch) -> Batch:
        """Return the batch as it is sent."""
        if self.codec is Codec.NONE:
            return built
        packed = compressed(built, self.codec, self._compress)
        found = packed.size / built.size
        step = 1 if found > self.ratio else _SHARE
        self.ratio += (found - self.ratio) / step
        return packed
