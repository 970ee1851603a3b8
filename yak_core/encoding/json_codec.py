"""The codec between values of yak_core and canonical JSON text.

:func:`codec_of` builds a codec from a type annotation. Each kind of annotation has one rule:

    int, str, bool, None       themselves; text is ASCII with escapes
    an IntEnum                 its member's name
    a StrEnum                  its member's value
    a Literal of texts         the text
    tuple                      a list
    bytes                      a string with one character (U+0000 to U+00FF) per byte
    the payload of a batch     [length, CRC-32C]: a trace keeps no record bytes
    one dataclass              {"field": value, ...} in the order of definition
    a union of dataclasses     {"TypeName": {"field": value, ...}}

Equal values have equal text. An annotation without a rule is refused when its codec is built.
Decoding is as strict as encoding, except that a field with a default may be missing. So old files
stay readable when a class gets a new field. A payload is decoded as
:class:`~yak_core.encoding.json_scalars.Elided`, empty bytes that keep its length and CRC, so
encoding the decoded value yields the same text.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import IntEnum, StrEnum
from functools import cache
from itertools import repeat
from typing import (
    Final,
    Literal,
    NewType,
    TypeAlias,
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
    Mismatch,
    choice_codec,
    quoted,
    shortened,
)
from yak_core.value import Make, getter_of_fields

Names: TypeAlias = tuple[tuple[str, str], ...]

PAYLOADS: Final = ((Batch, "data"),)
"""(type, field) of the bytes that are encoded as length and CRC."""

CACHED_TYPES: Final = (Batch,)
"""Types whose texts are cached, because a trace contains the same object several times."""

CACHED_TEXTS_MAX: Final = 64
"""Maximum number of cached texts per type."""


@cache
def codec_of(annotation: object, names: Names = ()) -> Codec:
    """Return the codec of a type annotation. Raises TypeError if no rule covers it.

    ``names`` holds (field, name in the text) for fields that have another name in the text.
    """
    if isinstance(annotation, NewType):
        return codec_of(annotation.__supertype__, names)
    if isinstance(annotation, type):
        if annotation in SCALARS:
            return SCALARS[annotation]
        if issubclass(annotation, IntEnum):
            kind = f"a member of {annotation.__name__}"
            return choice_codec(kind, {one.name: one for one in annotation})
        if issubclass(annotation, StrEnum):
            kind = f"a member of {annotation.__name__}"
            return choice_codec(kind, {one.value: one for one in annotation})
        if is_dataclass(annotation):
            return _dataclass_codec(annotation, names)
    origin = get_origin(annotation)
    if origin is Literal:
        texts = get_args(annotation)
        return choice_codec(" or ".join(texts), {text: text for text in texts})
    if origin is tuple:
        return _tuple_codec(get_args(annotation), names)
    if origin is types.UnionType or origin is Union:
        return _union_codec(get_args(annotation), names)
    raise TypeError(f"no rule for encoding {annotation!r}")


def _tuple_codec(items: tuple[object, ...], names: Names) -> Codec:
    if len(items) == 2 and items[1] is Ellipsis:
        return _list_codec(codec_of(items[0], names))
    codecs = [codec_of(item, names) for item in items]
    count = len(codecs)

    def encode(value: object) -> str:
        if not isinstance(value, tuple) or len(value) != count:
            raise Mismatch(f"{value!r} is not a tuple of {count}")
        return f"[{','.join([codecs[at].encode(value[at]) for at in range(count)])}]"

    def decode(value: object) -> object:
        if type(value) is not list or len(value) != count:
            raise Mismatch(f"{shortened(value)} is not a list of {count}")
        return _decode_items([codec.decode for codec in codecs], value)

    return Codec(encode, decode)


def _list_codec(codec: Codec) -> Codec:
    """Return the codec of ``tuple[X, ...]``."""
    encode_item, decode_item = codec

    def encode(value: object) -> str:
        if not isinstance(value, tuple):
            raise Mismatch(f"{value!r} is not a tuple")
        return f"[{','.join([encode_item(item) for item in value])}]"

    def decode(value: object) -> object:
        if type(value) is not list:
            raise Mismatch(f"{shortened(value)} is not a list")
        return _decode_items(repeat(decode_item), value)

    return Codec(encode, decode)


def _decode_items(decoders: Iterable[Decode], items: list[object]) -> tuple[object, ...]:
    found: list[object] = []
    try:
        for decode, item in zip(decoders, items, strict=False):
            found.append(decode(item))
    except Mismatch as mismatch:
        raise mismatch.within(f"[{len(found)}]") from None
    return tuple(found)


def _union_codec(members: tuple[object, ...], names: Names) -> Codec:
    kinds = [member for member in members if member is not type(None)]
    nullable = len(kinds) < len(members)
    if len(kinds) == 1:
        return _nullable_codec(codec_of(kinds[0], names))
    tags: dict[object, tuple[str, Encode]] = {}
    decoders: dict[object, Decode] = {}
    for kind in kinds:
        if not isinstance(kind, type) or not is_dataclass(kind) or kind.__name__ in decoders:
            raise TypeError(f"no rule for {kind!r} in a union of {members!r}")
        codec = codec_of(kind, names)
        tags[kind] = (f"{{{quoted(kind.__name__)}:", codec.encode)
        decoders[kind.__name__] = codec.decode

    def encode(value: object) -> str:
        known = tags.get(type(value))
        if known is None:
            raise Mismatch(f"{value!r} is not one of {', '.join(map(str, decoders))}")
        tag, encode_fields = known
        return f"{tag}{encode_fields(value)}}}"

    def decode(value: object) -> object:
        if type(value) is not dict or len(value) != 1:
            raise Mismatch(f"{shortened(value)} is not an object with a type name as its only key")
        ((name, inner),) = value.items()
        if name not in decoders:
            raise Mismatch(f"type {shortened(name)} is not one of {', '.join(map(str, decoders))}")
        try:
            return decoders[name](inner)
        except Mismatch as mismatch:
            raise mismatch.within(str(name)) from None

    union = Codec(encode, decode)
    return _nullable_codec(union) if nullable else union


def _nullable_codec(codec: Codec) -> Codec:
    encode_some, decode_some = codec

    def encode(value: object) -> str:
        return "null" if value is None else encode_some(value)

    def decode(value: object) -> object:
        return None if value is None else decode_some(value)

    return Codec(encode, decode)


def _dataclass_codec(cls: type, renamed: Names) -> Codec:
    assert is_dataclass(cls)
    hints: dict[str, object] = get_type_hints(cls)
    members: dict[str, Field[object]] = {
        dict(renamed).get(member.name, member.name): member for member in fields(cls)
    }
    codecs = {
        name: PAYLOAD if (cls, member.name) in PAYLOADS else codec_of(hints[member.name], renamed)
        for name, member in members.items()
    }
    encode = _fields_encoder(cls, codecs)
    decode = _fields_decoder(cast(Make, cls), members, codecs)
    return Codec(_cached(encode) if cls in CACHED_TYPES else encode, decode)


def _cached(encode: Encode) -> Encode:
    """Add a cache of texts by object id to ``encode``.

    The cache also holds the values, so an id is not reused while its text is cached.
    """
    texts: dict[int, tuple[object, str]] = {}

    def cached(value: object) -> str:
        known = texts.get(id(value))
        if known is not None:
            return known[1]
        text = encode(value)
        if len(texts) >= CACHED_TEXTS_MAX:
            texts.clear()
        texts[id(value)] = (value, text)
        return text

    return cached


def _fields_encoder(cls: type, codecs: Mapping[str, Codec]) -> Encode:
    """Return the encoder of a dataclass, which fills one format template.

    The template formats integers; other fields are encoded to text before.
    """
    integer = SCALARS[int]
    slots = [
        f"{quoted(name)}:{'{:d}' if codec is integer else '{}'}" for name, codec in codecs.items()
    ]
    write = f"{{{{{','.join(slots)}}}}}".format
    texts = [(at, codec.encode) for at, codec in enumerate(codecs.values()) if codec is not integer]
    get = getter_of_fields(cls)

    def encode(value: object) -> str:
        values = get(value)
        try:
            if not texts:
                return write(*values)
            parts = [*values]
            for at, encode_field in texts:
                parts[at] = encode_field(parts[at])
            return write(*parts)
        except (TypeError, ValueError):
            for (name, codec), part in zip(codecs.items(), values, strict=True):
                try:
                    codec.encode(part)
                except Mismatch as mismatch:
                    raise mismatch.within(f"{cls.__name__}.{name}") from None
            raise

    return encode


def _fields_decoder(
    make: Make, members: Mapping[str, Field[object]], codecs: Mapping[str, Codec]
) -> Decode:
    decoders: dict[object, tuple[str, Decode]] = {
        name: (member.name, codecs[name].decode) for name, member in members.items()
    }
    needed = [name for name, member in members.items() if member.default is MISSING]

    def decode(value: object) -> object:
        if type(value) is not dict:
            raise Mismatch(f"{shortened(value)} is not an object")
        found: dict[str, object] = {}
        for name, part in value.items():
            if name not in decoders:
                raise Mismatch(f"unknown field {shortened(name)}")
            field, decode_field = decoders[name]
            try:
                found[field] = decode_field(part)
            except Mismatch as mismatch:
                raise mismatch.within(name) from None
        if len(found) < len(decoders):
            for name in needed:
                if name not in value:
                    raise Mismatch(f"field {name!r} is missing")
        return make(**found)

    return decode
