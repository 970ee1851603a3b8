"""Values of the core to canonical JSON text and back; must never do I/O or know what a value means.

A codec is built once from a type annotation, and one rule covers every kind of it:

    int, str, bool, None       themselves; text is ASCII with escapes
    an IntEnum                 its member's name
    a StrEnum                  its member's value
    a Literal of texts         the text
    tuple                      a list
    bytes                      a string, one character (U+0000 to U+00FF) a byte
    the payload of a batch     [length, CRC-32C]: a trace keeps no record bytes
    one dataclass              {"field": value, ...} in the order of definition
    a union of dataclasses     {"TypeName": {"field": value, ...}}

Equal values have equal text, and an annotation that fits no rule is refused when its codec is
built. Reading is as strict as writing, but a field that has a default may be missing: so old files
stay readable when a type grows. What was a payload comes back as
:class:`~yak_core.encoding.json_scalars.Elided`, empty bytes that remember length and CRC, so that
what was read is written back as it was.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import IntEnum, StrEnum
from functools import cache
from operator import attrgetter
from typing import (
    Final,
    Literal,
    NewType,
    Protocol,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from yak_core.batch import Batch
from yak_core.encoding.json_scalars import (
    PAYLOAD,
    SCALARS,
    Codec,
    Decode,
    Encode,
    Misfit,
    enum_codec,
    literal_codec,
    quoted,
    shown,
    text_enum_codec,
)


class _Make(Protocol):
    """A type, as something that makes its values."""

    def __call__(self, *args: object, **fields: object) -> object: ...


PAYLOADS: Final = ((Batch, "data"),)
"""(type, field) of the bytes that are written as length and CRC."""

REMEMBERED: Final = (Batch,)
"""Types whose values turn up several times in a trace, as the very same object."""

REMEMBERED_MAX: Final = 64
"""How many of their texts are kept; the values are held meanwhile."""


@cache
def codec_of(annotation: object) -> Codec:
    """The codec of a type annotation. TypeError for one that no rule covers."""
    if isinstance(annotation, NewType):
        return codec_of(annotation.__supertype__)
    if isinstance(annotation, type):
        if annotation in SCALARS:
            return SCALARS[annotation]
        if issubclass(annotation, IntEnum):
            return enum_codec(annotation)
        if issubclass(annotation, StrEnum):
            return text_enum_codec(annotation)
        if is_dataclass(annotation):
            return _dataclass(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return literal_codec(get_args(annotation))
    if origin is tuple:
        return _tuple(get_args(annotation))
    if origin is types.UnionType or origin is Union:
        return _union(get_args(annotation))
    raise TypeError(f"no rule for encoding {annotation!r}")


def _tuple(items: tuple[object, ...]) -> Codec:
    if len(items) == 2 and items[1] is Ellipsis:
        return _series(codec_of(items[0]))
    codecs = [codec_of(item) for item in items]
    count = len(codecs)

    def encode(value: object) -> str:
        if not isinstance(value, tuple) or len(value) != count:
            raise Misfit(f"{value!r} is not a tuple of {count}")
        return f"[{','.join([codecs[at].encode(value[at]) for at in range(count)])}]"

    def decode(value: object) -> object:
        if type(value) is not list or len(value) != count:
            raise Misfit(f"{shown(value)} is not a list of {count}")
        return tuple([_item(codecs[at].decode, value, at) for at in range(count)])

    return Codec(encode, decode)


def _series(codec: Codec) -> Codec:
    """Codec of ``tuple[X, ...]``."""
    encode_item, decode_item = codec

    def encode(value: object) -> str:
        if not isinstance(value, tuple):
            raise Misfit(f"{value!r} is not a tuple")
        return f"[{','.join([encode_item(item) for item in value])}]"

    def decode(value: object) -> object:
        if type(value) is not list:
            raise Misfit(f"{shown(value)} is not a list")
        try:
            return tuple([decode_item(item) for item in value])
        except Misfit:
            return tuple([_item(decode_item, value, at) for at in range(len(value))])

    return Codec(encode, decode)


def _item(decode: Decode, values: list[object], at: int) -> object:
    try:
        return decode(values[at])
    except Misfit as misfit:
        raise misfit.inside(f"[{at}]") from None


def _union(members: tuple[object, ...]) -> Codec:
    kinds = [member for member in members if member is not type(None)]
    nullable = len(kinds) < len(members)
    if len(kinds) == 1:
        return _nullable(codec_of(kinds[0]))
    tags: dict[object, tuple[str, Encode]] = {}
    decoders: dict[object, Decode] = {}
    for kind in kinds:
        if not isinstance(kind, type) or not is_dataclass(kind) or kind.__name__ in decoders:
            raise TypeError(f"no rule for {kind!r} in a union of {members!r}")
        codec = codec_of(kind)
        tags[kind] = (f"{{{quoted(kind.__name__)}:", codec.encode)
        decoders[kind.__name__] = codec.decode

    def encode(value: object) -> str:
        known = tags.get(type(value))
        if known is None:
            raise Misfit(f"{value!r} is none of {', '.join(map(str, decoders))}")
        tag, encode_fields = known
        return f"{tag}{encode_fields(value)}}}"

    def decode(value: object) -> object:
        if type(value) is not dict or len(value) != 1:
            raise Misfit(f"{shown(value)} is not an object with one key, a type")
        ((name, inner),) = value.items()
        if name not in decoders:
            raise Misfit(f"there is no type {shown(name)} here")
        try:
            return decoders[name](inner)
        except Misfit as misfit:
            raise misfit.inside(str(name)) from None

    union = Codec(encode, decode)
    return _nullable(union) if nullable else union


def _nullable(codec: Codec) -> Codec:
    encode_some, decode_some = codec

    def encode(value: object) -> str:
        return "null" if value is None else encode_some(value)

    def decode(value: object) -> object:
        return None if value is None else decode_some(value)

    return Codec(encode, decode)


def _dataclass(cls: type) -> Codec:
    assert is_dataclass(cls)
    hints: dict[str, object] = get_type_hints(cls)
    members: tuple[Field[object], ...] = fields(cls)
    names = tuple(member.name for member in members)
    codecs = [PAYLOAD if (cls, name) in PAYLOADS else codec_of(hints[name]) for name in names]
    encode = _fields_encoder(cls.__name__, names, codecs)
    decode = _fields_decoder(cast(_Make, cls), members, codecs)
    return Codec(_remembered(encode) if cls in REMEMBERED else encode, decode)


def _remembered(encode: Encode) -> Encode:
    """``encode`` with the texts of the last values; they are held, so their ids stay their own."""
    texts: dict[int, tuple[object, str]] = {}

    def remembered(value: object) -> str:
        known = texts.get(id(value))
        if known is not None:
            return known[1]
        text = encode(value)
        if len(texts) >= REMEMBERED_MAX:
            texts.clear()
        texts[id(value)] = (value, text)
        return text

    return remembered


def _fields_encoder(kind: str, names: tuple[str, ...], codecs: list[Codec]) -> Encode:
    """Writes a dataclass by one template: integers go straight into it, the rest as text first."""
    if not names:
        return lambda _: "{}"
    integer = SCALARS[int]
    slots = [
        f"{quoted(name)}:{'{:d}' if codec is integer else '{}'}"
        for name, codec in zip(names, codecs, strict=True)
    ]
    write = f"{{{{{','.join(slots)}}}}}".format
    texts = [(at, codec.encode) for at, codec in enumerate(codecs) if codec is not integer]
    get = attrgetter(*names) if len(names) > 1 else None
    only = names[0]

    def encode(value: object) -> str:
        try:
            if get is not None and not texts:
                return write(*get(value))
            values: list[object] = [getattr(value, only)] if get is None else [*get(value)]
            for at, encode_field in texts:
                values[at] = encode_field(values[at])
            return write(*values)
        except (TypeError, ValueError):
            for name, codec in zip(names, codecs, strict=True):
                try:
                    codec.encode(getattr(value, name))
                except Misfit as misfit:
                    raise misfit.inside(f"{kind}.{name}") from None
            raise

    return encode


def _fields_decoder(make: _Make, members: tuple[Field[object], ...], codecs: list[Codec]) -> Decode:
    names = [member.name for member in members]
    integer = SCALARS[int].decode
    others = [(at, codec.decode) for at, codec in enumerate(codecs) if codec.decode is not integer]
    integers = [at for at, codec in enumerate(codecs) if codec.decode is integer]
    optional = [
        member.name
        for member in members
        if member.default is not MISSING or member.default_factory is not MISSING
    ]

    def decode(value: object) -> object:
        if type(value) is not dict:
            raise Misfit(f"{shown(value)} is not an object")
        if [*value] != names:
            return decode_slowly(value)
        found: list[object] = [*value.values()]
        at = 0
        try:
            for at in integers:
                if type(found[at]) is not int:
                    integer(found[at])
            for at, decode_field in others:
                found[at] = decode_field(found[at])
        except Misfit as misfit:
            raise misfit.inside(names[at]) from None
        return make(*found)

    def decode_slowly(value: dict[object, object]) -> object:
        for name in value:
            if name not in names:
                raise Misfit(f"the field {shown(name)} is not known")
        found: dict[str, object] = {}
        for name, codec in zip(names, codecs, strict=True):
            if name in value:
                try:
                    found[name] = codec.decode(value[name])
                except Misfit as misfit:
                    raise misfit.inside(name) from None
            elif name not in optional:
                raise Misfit(f"the field {name!r} is missing")
        return make(**found)

    return decode
