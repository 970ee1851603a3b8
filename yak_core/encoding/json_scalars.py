"""JSON codecs of scalars: integers, strings, booleans, bytes and enumerations.

:mod:`yak_core.encoding.json_codec` lists the rules and has the codecs of compound types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple, TypeAlias

from crc32c import crc32c

quoted: Final[Callable[[str], str]] = encode_basestring_ascii
"""Encode a string as JSON, in ASCII."""

Encode: TypeAlias = Callable[[object], str]
Decode: TypeAlias = Callable[[object], object]


class Mismatch(ValueError):
    """A value, or parsed JSON, does not fit its type; ``where`` is the path to it, or empty."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason
        self.where = where

    def within(self, outer: str) -> Mismatch:
        """Return the error with ``outer``, the name of the enclosing field, added to the path."""
        joint = "." if self.where and not self.where.startswith("[") else ""
        return Mismatch(self.reason, f"{outer}{joint}{self.where}")


class Codec(NamedTuple):
    """The encoder and decoder for the values of one annotation; both raise Mismatch."""

    encode: Encode
    """Value -> JSON text, in ASCII and without spaces."""
    decode: Decode
    """Result of ``json.loads`` for that text -> value."""


class Elided(bytes):
    """Empty bytes that replace a payload of ``length`` bytes with the CRC-32C ``crc``.

    Its truth value is that of the payload: True if the payload was not empty.
    """

    length: int
    crc: int

    @classmethod
    def of(cls, length: int, crc: int) -> Elided:
        """Return the replacement for a payload."""
        self = cls()
        self.length = length
        self.crc = crc
        return self

    def __bool__(self) -> bool:
        return self.length > 0


def _scalar_codec(kind: type, what: str, write: Callable[[object], str]) -> Codec:
    """Return the codec of a JSON type; ``what`` is its name in errors."""

    def encode(value: object) -> str:
        if not isinstance(value, kind):
            raise Mismatch(f"{value!r} is not {what}")
        return write(value)

    def decode(value: object) -> object:
        if type(value) is not kind:
            raise Mismatch(f"{shortened(value)} is not {what}")
        return value

    return Codec(encode, decode)


def _encode_bytes(value: object) -> str:
    if not isinstance(value, bytes):
        raise Mismatch(f"{value!r} is not bytes")
    return quoted(value.decode("latin-1"))


def _decode_bytes(value: object) -> object:
    if type(value) is not str:
        raise Mismatch(f"{shortened(value)} is not a string that holds bytes")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise Mismatch(f"{shortened(value)} has a character above U+00FF") from None


def _encode_payload(value: object) -> str:
    if isinstance(value, Elided):
        return f"[{value.length},{value.crc}]"
    if not isinstance(value, bytes):
        raise Mismatch(f"{value!r} is not bytes")
    return f"[{len(value)},{crc32c(value)}]"


def _decode_payload(value: object) -> object:
    if type(value) is list and len(value) == 2:
        length, crc = value
        if type(length) is int and type(crc) is int and length >= 0 and 0 <= crc < 1 << 32:
            return Elided.of(length, crc) if length else b""
    raise Mismatch(f"{shortened(value)} is not the length and CRC of a payload")


SCALARS: Final[dict[type, Codec]] = {
    int: _scalar_codec(int, "an integer", lambda value: f"{value:d}"),
    str: _scalar_codec(str, "a string", lambda value: quoted(str(value))),
    bool: _scalar_codec(bool, "true or false", lambda value: "true" if value else "false"),
    bytes: Codec(_encode_bytes, _decode_bytes),
}
"""Codecs of the scalar JSON types, and of bytes that are encoded in full."""
PAYLOAD: Final = Codec(_encode_payload, _decode_payload)
"""Codec of bytes that are encoded as length and CRC."""


def shortened(value: object) -> str:
    """Return the repr of a value for an error message, shortened to 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def choice_codec(kind: str, choices: Mapping[str, object]) -> Codec:
    """Return the codec of a fixed set of values; ``choices`` maps the text of each to it.

    ``kind`` follows "is not" in errors, such as ``a member of Outcome``.
    """
    texts: dict[object, str] = {choice: quoted(text) for text, choice in choices.items()}

    def encode(value: object) -> str:
        text = texts.get(value) if isinstance(value, int | str) else None
        if text is None:
            raise Mismatch(f"{value!r} is not {kind}")
        return text

    def decode(value: object) -> object:
        if type(value) is not str or value not in choices:
            raise Mismatch(f"{shortened(value)} is not {kind}")
        return choices[value]

    return Codec(encode, decode)
