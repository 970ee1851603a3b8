"""The layout of the frame of each message.

A frame consists of these parts, in network byte order:

    type        uint8       type number of the message, see ``LAYOUTS``
    version     uint8       1
    numbers                 one for each field, in the order of the class: the value itself, or for
                            a field of variable size its length in bytes (texts, batches) or its
                            number of items (lists)
    texts, lists            the values of these fields, in the same order
    batches                 to the end of the frame: contiguous record batches of Kafka's format v2

So all lengths are at a fixed position, and are checked before any value is decoded.
docs/formats.md has the same table. A change that an old reader would misunderstand needs a new
version number and a new sample in ``tests/golden_formats/``.
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
"""Length field of a missing node id; so an id has at most 254 bytes."""

Put: TypeAlias = Callable[[object, list[bytes]], int]
"""(value, parts after the numbers) -> number of the value; adds the value to the parts."""
Take: TypeAlias = Callable[[int, Buffer, int], tuple[object, int]]
"""(number, frame, position) -> (value, position after it)."""


class CodecError(ValueError):
    """Bytes that are not one valid frame of a known message.

    ``kind`` is the type of the message, and ``correlation`` the correlation number of a request or
    response; both are None if they could not be read. With both, a broker can answer a request with
    an error instead of closing the connection. ``damaged`` means that a batch in the frame is
    damaged.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.kind: type | None = None
        self.correlation: int | None = None
        self.damaged = False


class Kind(NamedTuple):
    """The encoding of a field: ``name`` is its name in errors, ``code`` the struct code."""

    name: str
    code: str
    put: Put | None = None
    """None if the number is the value itself."""
    take: Take | None = None


def _text(length: int, frame: Buffer, at: int) -> tuple[str, int]:
    end = at + length
    if end > len(frame):
        raise CodecError(f"text of {length} bytes at byte {at} exceeds the frame of {len(frame)}")
    try:
        return str(frame[at:end], "utf-8"), end
    except UnicodeDecodeError as error:
        raise CodecError(f"text at byte {at} is not UTF-8: {error.reason}") from None


def _put_text(value: object, parts: list[bytes]) -> int:
    # Error texts of the operating system can hold surrogates; they must not cause another error.
    raw = cast(str, value).encode("utf-8", "backslashreplace")
    parts.append(raw)
    return len(raw)


def _put_node(value: object, parts: list[bytes]) -> int:
    raw = cast(str, value).encode()
    if len(raw) >= NO_NODE:
        raise ValueError(f"node id too long: {len(raw)} bytes, maximum {NO_NODE - 1}")
    parts.append(raw)
    return len(raw)


def _take_node(length: int, frame: Buffer, at: int) -> tuple[str, int]:
    if length == NO_NODE:
        raise CodecError("node id is missing")
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
            raise CodecError(f"frame declares {count} nodes, got {len(nodes)}")
        node, at = _take_node(frame[at], frame, at + 1)
        nodes.append(node)
    return tuple(nodes), at


def _members(name: str, code: str, enum: type[IntEnum]) -> Kind:
    """Return the kind of the members of an enumeration."""
    by_number = {int(member): member for member in enum}

    def take(number: int, frame: Buffer, at: int) -> tuple[object, int]:
        member = by_number.get(number)
        if member is None:
            raise CodecError(f"unknown {enum.__name__} {number}")
        return member, at

    return Kind(name, code, lambda value, _: int(cast(IntEnum, value)), take)


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
"""Type of a field -> its kind, unless the layout names another kind."""


class Layout:
    """The layout of one class: the kind of each field, from its type or from ``kinds``.

    ``tag`` is the type number of the message; -1 for a part of a message. ``payload`` is the index
    of the field with batches, -1 if there is none; the caller encodes and decodes this field.
    """

    __slots__ = (
        "cls", "get", "kinds", "make", "names", "payload", "puts", "reader", "start", "tag",
        "takes", "writer",
    )  # fmt: skip

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
        assert len(batches) < 2, f"{cls.__name__} has more than one field with batches"
        self.payload = batches[0] if batches else -1

    def head(self, values: tuple[object, ...], payload: int = 0) -> bytes:
        """Encode all fields but the batches, which take ``payload`` bytes.

        Raises ValueError for a value that is out of range.
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
                self._check_range(name, kind, number)
            raise

    def _check_range(self, name: str, kind: Kind, number: object) -> None:
        try:
            Struct(f">{kind.code}").pack(number)
        except struct_error:
            what = kind.name if kind.put is None else f"the size field of {kind.name}"
            raise ValueError(
                f"{self.cls.__name__}.{name} is out of range for {what}: {number!r}"
            ) from None

    def values(self, frame: Buffer, at: int = 0) -> tuple[list[object], int]:
        """Decode the fields from position ``at``; return them and the position after them.

        The value of a field with batches is their length in bytes. Raises CodecError.
        """
        end = at + self.reader.size
        if end > len(frame):
            raise CodecError(
                f"need {end - at} bytes of numbers at byte {at}, got {len(frame) - at}"
            )
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
"""The layouts of all messages. The type number of a removed message must not be used again."""
