"""JSON text of values without parts, and back; must never do I/O or know what a value means.

:mod:`yak_core.encoding.json_codec` has the rules and everything that is made of parts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, StrEnum
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


def _encode_int(value: object) -> str:
    if not isinstance(value, int):
        raise Misfit(f"{value!r} is not an integer")
    return int.__repr__(value)


def _decode_int(value: object) -> object:
    if type(value) is not int:
        raise Misfit(f"{shown(value)} is not an integer")
    return value


def _encode_str(value: object) -> str:
    if not isinstance(value, str):
        raise Misfit(f"{value!r} is not a string")
    return quoted(value)


def _decode_str(value: object) -> object:
    if type(value) is not str:
        raise Misfit(f"{shown(value)} is not a string")
    return value


def _encode_bool(value: object) -> str:
    if value is not True and value is not False:
        raise Misfit(f"{value!r} is neither True nor False")
    return "true" if value else "false"


def _decode_bool(value: object) -> object:
    if value is not True and value is not False:
        raise Misfit(f"{shown(value)} is neither true nor false")
    return value


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
    int: Codec(_encode_int, _decode_int),
    str: Codec(_encode_str, _decode_str),
    bool: Codec(_encode_bool, _decode_bool),
    bytes: Codec(_encode_bytes, _decode_bytes),
}
"""Codecs of the types that JSON has, and of bytes kept in full."""
PAYLOAD: Final = Codec(_encode_payload, _decode_payload)
"""Codec of bytes of which only length and CRC are kept."""


def shown(value: object) -> str:
    """A piece of JSON in an error message, no longer than half a line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def enum_codec(members: type[IntEnum]) -> Codec:
    """Codec of an enumeration: its members' names."""
    texts: dict[object, str] = {member: quoted(member.name) for member in members}
    by_name: dict[object, IntEnum] = {member.name: member for member in members}

    def encode(value: object) -> str:
        text = texts.get(value) if isinstance(value, int) else None
        if text is None:
            raise Misfit(f"{value!r} is no {members.__name__}")
        return text

    def decode(value: object) -> object:
        member = by_name.get(value) if isinstance(value, str) else None
        if member is None:
            raise Misfit(f"{shown(value)} is no {members.__name__}")
        return member

    return Codec(encode, decode)


def text_enum_codec(cls: type[StrEnum]) -> Codec:
    """The codec of a StrEnum, by the value of its members."""
    members: dict[object, StrEnum] = {member.value: member for member in cls}

    def encode(value: object) -> str:
        if not isinstance(value, cls):
            raise Misfit(f"{value!r} is not a member of {cls.__name__}")
        return quoted(value.value)

    def decode(value: object) -> object:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            raise Misfit(f"{cls.__name__} has no member {shown(value)}")
        return member

    return Codec(encode, decode)


def literal_codec(texts: tuple[object, ...]) -> Codec:
    """The codec of a Literal of texts."""

    def encode(value: object) -> str:
        if value not in texts:
            raise Misfit(f"{value!r} is none of {', '.join(map(str, texts))}")
        return quoted(str(value))

    def decode(value: object) -> object:
        if value not in texts:
            raise Misfit(f"{shown(value)} is none of {', '.join(map(str, texts))}")
        return value

    return Codec(encode, decode)
