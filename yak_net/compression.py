"""The codecs of compressed batches: gzip of the standard library, and lz4 and zstd from extras.

A batch has one stream of its codec, as Kafka writes it: a gzip member, an LZ4 frame with
independent blocks (KIP-57; Kafka's reader refuses linked ones), or a zstd frame (KIP-110). Levels
are those of KIP-390.

A small batch may decompress to gigabytes. So a stream is read in pieces that are too small for
that, and no further than to a limit.
"""

from __future__ import annotations

import zlib
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Final, Protocol

from yak_core.batch import BATCH_BYTES_MAX, Batch, Codec, Compress, UnsupportedCodec, decompressed

SECTION_BYTES_MAX: Final = 64 << 20
"""Largest size in bytes of decompressed records that clients and ``yak log`` accept."""
BROKER_SECTION_BYTES_MAX: Final = BATCH_BYTES_MAX
"""The same for brokers, which decompress only for answers in JSON and searches by time."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_WINDOW_BYTES_MAX: Final = 1 << 27
"""Largest window of a zstd frame: the limit of the zstd library and its command."""
# Bytes of a piece that becomes at most 16 MiB. A byte becomes at most 1032 bytes in gzip and 255 in
# LZ4, whose library takes up to nine times the memory of its result. In zstd, a block of 4 bytes
# becomes up to 128 KiB.
_PIECE_BYTES: Final = {Codec.GZIP: 16 << 10, Codec.LZ4: 8 << 10, Codec.ZSTD: 512}

_PACKAGES: Final = {Codec.LZ4: ("lz4.frame", "lz4"), Codec.ZSTD: ("zstandard", "zstd")}
"""Module that an extra installs, and the name of the extra."""
LEVELS: Final = {Codec.GZIP: (1, 9), Codec.LZ4: (0, 16), Codec.ZSTD: (-131072, 22)}
"""Lowest and highest level of each codec."""
_DEFAULT_LEVELS: Final = {Codec.GZIP: 6, Codec.LZ4: 0, Codec.ZSTD: 3}


class MissingExtra(ImportError):
    """A codec needs a package that is not installed; the message names the extra."""


class _Stream(Protocol):
    """Reader of one compressed stream; ``unused_data`` are bytes after its end."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, piece: memoryview, /) -> bytes: ...


def compressor(codec: Codec, level: int | None = None) -> Compress:
    """Return a function that compresses with gzip, lz4 or zstd.

    Raises ValueError for a level out of range, and MissingExtra.
    """
    lowest, highest = LEVELS[codec]
    level = _DEFAULT_LEVELS[codec] if level is None else level
    if not lowest <= level <= highest:
        raise ValueError(
            f"the compression level of {codec.label} must be between {lowest} and {highest}, got "
            f"{level}"
        )
    if codec is Codec.GZIP:
        return partial(_gzip, level)
    library = _library(codec)
    if codec is Codec.ZSTD:
        compress: Compress = library.ZstdCompressor(level=level).compress
        return compress
    return partial(_lz4, library, level)


def decompress(codec: Codec, section: memoryview, bytes_max: int = SECTION_BYTES_MAX) -> bytes:
    """Return the decompressed bytes, at most ``bytes_max``.

    Raises UnsupportedCodec if the package of the codec is not installed, and for snappy. Raises
    ValueError if the bytes are damaged, incomplete or too many.
    """
    if codec is Codec.GZIP:
        errors: tuple[type[Exception], ...] = (zlib.error,)
        stream: _Stream = zlib.decompressobj(_GZIP)
    elif codec in _PACKAGES:
        try:
            library = _library(codec)
        except MissingExtra as error:
            raise UnsupportedCodec(str(error)) from error
        if codec is Codec.LZ4:
            errors = (RuntimeError,)
            stream = library.LZ4FrameDecompressor()
        else:
            errors = (library.ZstdError,)
            window = library.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
            stream = window.decompressobj()
    else:
        raise UnsupportedCodec(f"the codec {codec.label} is not supported")
    try:
        return _read(stream, section, _PIECE_BYTES[codec], bytes_max)
    except errors as error:
        raise ValueError(f"the {codec.label} stream is damaged: {error}") from error


def plain(batch: Batch) -> Batch:
    """Return the batch with uncompressed records, in a client or a tool.

    Raises UnsupportedCodec and Damaged.
    """
    return decompressed(batch, decompress)


def plain_in_broker(batch: Batch) -> Batch:
    """Return the batch with uncompressed records, in a broker; not on its event loop.

    Raises UnsupportedCodec and Damaged.
    """
    return decompressed(batch, partial(decompress, bytes_max=BROKER_SECTION_BYTES_MAX))


def _read(stream: _Stream, section: memoryview, piece_bytes: int, bytes_max: int) -> bytes:
    """Return all bytes of a stream that fills ``section``. Raises ValueError."""
    parts: list[bytes] = []
    size = 0
    for at in range(0, len(section), piece_bytes):
        if stream.eof:
            raise ValueError(f"{len(section) - at} extra bytes follow the compressed records")
        part = stream.decompress(section[at : at + piece_bytes])
        size += len(part)
        if size > bytes_max:
            raise ValueError(f"the decompressed records have more than {bytes_max} bytes")
        parts.append(part)
    if not stream.eof:
        raise ValueError(f"the compressed records end too early, after {len(section)} bytes")
    if stream.unused_data:
        raise ValueError(f"{len(stream.unused_data)} extra bytes follow the compressed records")
    return b"".join(parts)


def _gzip(level: int, section: memoryview) -> bytes:
    return zlib.compress(section, level, _GZIP)


def _lz4(library: ModuleType, level: int, section: memoryview) -> bytes:
    packed: bytes = library.compress(
        section, compression_level=level, block_linked=False, store_size=False
    )
    return packed


def _library(codec: Codec) -> ModuleType:
    """Return the module of an extra. Raises MissingExtra."""
    module, extra = _PACKAGES[codec]
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(
            f"the codec {codec.label} needs the package {package}, which is not installed: "
            f"pip install 'yak-log[{extra}]'"
        ) from error
