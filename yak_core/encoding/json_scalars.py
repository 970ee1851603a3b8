"""JSON text of values without parts, and back; must never do I/O or know what a value means.

:mod:`yak_core.encoding.json_codec` has the rules and everything that is made of parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple, TypeAlias

from crc32c import crc32c

quoted: Final[Callable[[str], str]] = encode_basestring_ascii
"""A string as JSON, ASCII only."""

Encode: TypeAlias = Callable[[object], str]
Decode: TypeAlias = Callable[[object], object]


class Misfit(ValueError):
    """A value or a piece of JSON does not fit its type; ``where`` is the path to it, or empty."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason
        self.where = where

    def inside(self, outer: str) -> Misfit:
        """The same misfit as seen from the value that holds it."""
        joint = "." if self.where and not self.where.startswith("[") else ""
        return Misfit(self.reason, f"{outer}{joint}{self.where}")


class Codec(NamedTuple):
    """How the values of one annotation are written and read; both raise Misfit."""

    encode: Encode
    """Value to JSON text without spaces, ASCII only."""
    decode: Decode
    """What ``json.loads`` made of that text, to the value."""


class Elided(bytes):
    """Empty bytes in the place of a payload of ``length`` bytes with the CRC-32C ``crc``.

    True exactly when the payload was not empty, as the payload itself would be.
    """

    length: int
    crc: int

    @classmethod
    def of(cls, length: int, crc: int) -> Elided:
        """The stand-in for a payload that was not kept."""
        self = cls()
        self.length = length
        self.crc = crc
        return self

    def __bool__(self) -> bool:
        return self.length > 0


def _scalar(kind: type, what: str, write: Callable[[object], str]) -> Codec:
    """The codec of a type that JSON has."""

    def encode(value: object) -> str:
        if not isinstance(value, kind):
            raise Misfit(f"{value!r} is not {what}")
        return write(value)

    def decode(value: object) -> object:
        if type(value) is not kind:
            raise Misfit(f"{shown(value)} is not {what}")
        return value

    return Codec(encode, decode)


def _encode_bytes(value: object) -> str:
    if not isinstance(value, bytes):
        raise Misfit(f"{value!r} is not bytes")
    return quoted(value.decode("latin-1"))


def _decode_bytes(value: object) -> object:
    if type(value) is not str:
        raise Misfit(f"{shown(value)} is not a string of bytes")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise Misfit(f"{shown(value)} has a character that is no byte") from None


def _encode_payload(value: object) -> str:
    if isinstance(value, Elided):
        return f"[{value.length},{value.crc}]"
    if not isinstance(value, bytes):
        raise Misfit(f"{value!r} is not bytes")
    return f"[{len(value)},{crc32c(value)}]"


def _decode_payload(value: object) -> object:
    if type(value) is list and len(value) == 2:
        length, crc = value
        if type(length) is int and type(crc) is int and length >= 0 and 0 <= crc < 1 << 32:
            return Elided.of(length, crc) if length else b""
    raise Misfit(f"{shown(value)} is not the length and CRC of a payload")


SCALARS: Final[dict[type, Codec]] = {
    int: _scalar(int, "an integer", lambda value: f"{value:d}"),
    str: _scalar(str, "a string", lambda value: quoted(str(value))),
    bool: _scalar(bool, "true or false", lambda value: "true" if value else "false"),
    bytes: Codec(_encode_bytes, _decode_bytes),
}
"""Codecs of the types that JSON has, and of bytes kept in full."""
PAYLOAD: Final = Codec(_encode_payload, _decode_payload)
"""Codec of bytes of which only length and CRC are kept."""


def shown(value: object) -> str:
    """A piece of JSON in an error message, no longer than half a line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def choice_codec(kind: str, choices: Mapping[str, object]) -> Codec:
    """The codec of a few values, by the text of each; ``kind`` names them all in errors."""
    texts: dict[object, str] = {choice: quoted(text) for text, choice in choices.items()}

    def encode(value: object) -> str:
        text = texts.get(value) if isinstance(value, int | str) else None
        if text is None:
            raise Misfit(f"{value!r} is no {kind}")
        return text

    def decode(value: object) -> object:
        if type(value) is not str or value not in choices:
            raise Misfit(f"{shown(value)} is no {kind}")
        return choices[value]

    return Codec(encode, decode)
