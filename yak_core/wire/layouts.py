"""What the frame of each message looks like: its fields and their bytes; must never see a record.

A frame has, in network byte order,

    type        uint8       which message: ``LAYOUTS`` is the list
    version     uint8       1
    numbers                 one for each field, in the order of the class: the value itself, or for
                            what has no fixed size its length in bytes (texts, batches) or its
                            number of items (lists)
    texts, lists            those fields, in the same order
    batches                 to the end of the frame: Kafka record batches of format v2, back to back

So all lengths stand at a fixed place in front and are compared with what is there before anything
is made of it. docs/formats.md shows the same table. A change that an old reader would misunderstand
takes a new version, and ``tests/golden_formats/`` a new sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from struct import Struct
from struct import error as struct_error
from typing import Final, NamedTuple, TypeAlias, cast, get_type_hints

from yak_core.batch.header import Batch, Buffer
from yak_core.contract.messages import (
    DescribeRequest,
    DescribeResponse,
    Fenced,
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ProduceRequest,
    ProduceResponse,
    ReplicaStatus,
    Replicate,
    ReplicateAck,
    ReplicateReject,
)
from yak_core.errors import ErrorCode, Outcome
from yak_core.ids import BrokerEpoch, Epoch, NodeId
from yak_core.value import Make, getter_of_fields

VERSION: Final = 1
NO_NODE: Final = 255
"""Length of the id of a node where there is none; so an id has at most 254 bytes."""

Put: TypeAlias = Callable[[object, list[bytes]], int]
"""Takes a value and the parts after the numbers; adds to them and returns the value's number."""
Take: TypeAlias = Callable[[int, Buffer, int], tuple[object, int]]
"""Takes a number, the frame and a position in it; returns the value and the position after it."""


class CodecError(ValueError):
    """Bytes that are not one whole frame of a known message; says in a sentence why not.

    ``kind`` is the type of the message if that much could be read, and ``correlation`` the number
    that a request or response carries: with both, a request can be refused by an answer instead of
    a closed connection. ``damaged`` tells that the frame is sound, but a batch in it is not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.kind: type | None = None
        self.correlation: int | None = None
        self.damaged = False


class Kind(NamedTuple):
    """How a field is written: ``code`` is struct's letter of its number."""

    word: str
    code: str
    put: Put | None = None
    """None if the number is the value."""
    take: Take | None = None


def _text(length: int, frame: Buffer, at: int) -> tuple[str, int]:
    end = at + length
    if end > len(frame):
        raise CodecError(f"a text of {length} bytes begins at byte {at} of {len(frame)}")
    try:
        return str(frame[at:end], "utf-8"), end
    except UnicodeDecodeError as error:
        raise CodecError(f"the text at byte {at} is not UTF-8: {error.reason}") from None


def _put_text(value: object, parts: list[bytes]) -> int:
    # What an operating system says can have surrogates, and an explanation must not fail.
    raw = cast(str, value).encode("utf-8", "backslashreplace")
    parts.append(raw)
    return len(raw)


def _put_node(value: object, parts: list[bytes]) -> int:
    raw = cast(str, value).encode()
    if len(raw) >= NO_NODE:
        raise ValueError(f"the id of a node has {NO_NODE - 1} bytes at most, not {len(raw)}")
    parts.append(raw)
    return len(raw)


def _take_node(length: int, frame: Buffer, at: int) -> tuple[str, int]:
    if length == NO_NODE:
        raise CodecError("the id of a node is missing")
    return _text(length, frame, at)


def _put_leader(value: object, parts: list[bytes]) -> int:
    return NO_NODE if value is None else _put_node(value, parts)


def _take_leader(length: int, frame: Buffer, at: int) -> tuple[str | None, int]:
    return (None, at) if length == NO_NODE else _text(length, frame, at)


def _put_nodes(value: object, parts: list[bytes]) -> int:
    nodes = cast(tuple[str, ...], value)
    for node in nodes:
        ids: list[bytes] = []
        parts.append(bytes((_put_node(node, ids),)))
        parts += ids
    return len(nodes)


def _take_nodes(count: int, frame: Buffer, at: int) -> tuple[tuple[str, ...], int]:
    nodes: list[str] = []
    for _ in range(count):
        if at >= len(frame):
            raise CodecError(f"{count} nodes are announced and {len(nodes)} are there")
        node, at = _take_node(frame[at], frame, at + 1)
        nodes.append(node)
    return tuple(nodes), at


def _members(word: str, code: str, enum: type[IntEnum]) -> Kind:
    """The kind of an enumeration's members."""
    by_number = {int(member): member for member in enum}

    def take(number: int, frame: Buffer, at: int) -> tuple[object, int]:
        member = by_number.get(number)
        if member is None:
            raise CodecError(f"there is no {enum.__name__} {number}")
        return member, at

    return Kind(word, code, lambda value, _: int(cast(IntEnum, value)), take)


def _put_replicas(value: object, parts: list[bytes]) -> int:
    replicas = cast(tuple[ReplicaStatus, ...], value)
    parts += [_REPLICA.head(_REPLICA.get(replica)) for replica in replicas]
    return len(replicas)


def _take_replicas(count: int, frame: Buffer, at: int) -> tuple[tuple[object, ...], int]:
    replicas: list[object] = []
    for _ in range(count):
        values, at = _REPLICA.values(frame, at)
        replicas.append(_REPLICA.make(*values))
    return tuple(replicas), at


INT16: Final = Kind("int16", "h")
INT32: Final = Kind("int32", "i")
INT64: Final = Kind("int64", "q")
TEXT: Final = Kind("text", "H", _put_text, _text)
NODE: Final = Kind("node", "B", _put_node, _take_node)
BATCH: Final = Kind("batch", "I")
BATCHES: Final = Kind("batches", "I")

KINDS: Final[Mapping[object, Kind]] = {
    int: INT64,
    Epoch: INT32,
    BrokerEpoch: INT64,
    ErrorCode: _members("error", "h", ErrorCode),
    Outcome: _members("outcome", "B", Outcome),
    str: TEXT,
    NodeId | None: Kind("node or none", "B", _put_leader, _take_leader),
    tuple[NodeId, ...]: Kind("nodes", "B", _put_nodes, _take_nodes),
    tuple[ReplicaStatus, ...]: Kind("replicas", "B", _put_replicas, _take_replicas),
    Batch: BATCH,
    tuple[Batch, ...]: BATCHES,
}
"""How a field of a type is written, unless its layout says otherwise."""


class Layout:
    """The bytes of one class: its fields in their order, each by its type or by ``kinds``.

    ``tag`` is -1 for a part of a message. ``payload`` is the index of the field with batches, -1 if
    there is none; encoding and decoding of these is left to the caller.
    """

    __slots__ = (
        "cls",
        "get",
        "kinds",
        "make",
        "names",
        "payload",
        "puts",
        "reader",
        "start",
        "tag",
        "takes",
        "writer",
    )

    def __init__(self, tag: int, cls: type, /, **kinds: Kind) -> None:
        hints: dict[str, object] = get_type_hints(cls)
        columns = tuple([kinds.get(name) or KINDS[hint] for name, hint in hints.items()])
        self.tag = tag
        self.cls = cls
        self.make = cast(Make, cls)
        self.kinds = columns
        self.names = tuple(hints)
        self.get = getter_of_fields(cls)
        codes = "".join(kind.code for kind in columns)
        self.start = () if tag < 0 else (tag, VERSION)
        self.writer = Struct(f">{'B' * len(self.start)}{codes}")
        self.reader = Struct(f">{'x' * len(self.start)}{codes}")
        self.puts = [(at, kind.put) for at, kind in enumerate(columns) if kind.put is not None]
        self.takes = [(at, kind.take) for at, kind in enumerate(columns) if kind.take is not None]
        batches = [at for at, kind in enumerate(columns) if kind in (BATCH, BATCHES)]
        assert len(batches) < 2, "batches fill a frame to its end"
        self.payload = batches[0] if batches else -1

    def head(self, values: tuple[object, ...], payload: int = 0) -> bytes:
        """Everything but the batches, of which there will be ``payload`` bytes.

        ValueError for a value that does not fit.
        """
        numbers = [*values]
        parts = [b""]
        for at, put in self.puts:
            numbers[at] = put(values[at], parts)
        if self.payload >= 0:
            numbers[self.payload] = payload
        parts[0] = self._pack(numbers)
        return b"".join(parts)

    def _pack(self, numbers: list[object]) -> bytes:
        try:
            return self.writer.pack(*self.start, *numbers)
        except struct_error:
            for name, kind, number in zip(self.names, self.kinds, numbers, strict=True):
                self._fit(name, kind, number)
            raise

    def _fit(self, name: str, kind: Kind, number: object) -> None:
        try:
            Struct(f">{kind.code}").pack(number)
        except struct_error:
            what = kind.word if kind.put is None else f"the size of {kind.word}"
            raise ValueError(
                f"{self.cls.__name__}.{name} is {number!r}, which is not within {what}"
            ) from None

    def values(self, frame: Buffer, at: int = 0) -> tuple[list[object], int]:
        """The fields of what begins at ``at``, and the position after them.

        A field with batches is their length in bytes. Raises CodecError.
        """
        end = at + self.reader.size
        if end > len(frame):
            raise CodecError(f"a fixed part has {end - at} bytes, {len(frame) - at} are there")
        values: list[object] = [*self.reader.unpack_from(frame, at)]
        for index, take in self.takes:
            values[index], end = take(cast(int, values[index]), frame, end)
        return values, end


_REPLICA: Final = Layout(-1, ReplicaStatus, node=NODE)

LAYOUTS: Final = (
    Layout(1, Replicate, leader=NODE),
    Layout(2, ReplicateAck),
    Layout(3, ReplicateReject),
    Layout(4, Fenced),
    Layout(16, ProduceRequest, acks=INT16),
    Layout(17, ProduceResponse),
    Layout(18, FetchRequest, bytes_max=INT32),
    Layout(19, FetchResponse),
    Layout(20, ListOffsetsRequest),
    Layout(21, ListOffsetsResponse),
    Layout(22, DescribeRequest),
    Layout(23, DescribeResponse, node=NODE),
)
"""The frame of every message; a number here is never given to another message."""
