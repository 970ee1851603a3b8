"""JSON bodies to core messages and back; must never do I/O, nor guess what a body means.

A body is read strictly: no unknown members, no member twice, no number where a text belongs. Values
and keys are bytes in the log; in JSON they are texts, or base64 under a name that ends in ``_b64``
when they are not UTF-8.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from yak_core.batch import (
    Batch,
    Builder,
    Damaged,
    Headers,
    Record,
    RecordTooLarge,
    UnsupportedCodec,
    records,
    seal,
)
from yak_core.contract.messages import DescribeResponse, FetchResponse, ProduceResponse
from yak_core.ids import Epoch, Offset
from yak_net.http.gateway import Health

TIMEOUT_MS: Final = 30_000
TIMEOUT_MS_MAX: Final = 600_000
RECORDS_MAX: Final = 10_000
"""Records of one answer to a fetch; the rest is for the next one."""
BATCH_RECORDS_MAX: Final = 1 << 16
ACKS: Final[dict[object, int]] = {"all": -1, -1: -1, 1: 1, 0: 0}

Text: TypeAlias = str | UnsetType
NullableText: TypeAlias = str | UnsetType | None
Int64: TypeAlias = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Timeout: TypeAlias = Annotated[int, Meta(ge=0, le=TIMEOUT_MS_MAX)]


class BodyError(Exception):
    """What is wrong with a body, and where."""


class TooMuch(Exception):
    """The records do not fit into one batch."""


class NoAcks(Exception):
    """No such acks."""


class Unreadable(Exception):
    """The records that a fetch found cannot be given as JSON; ``next_offset`` is behind them."""

    def __init__(self, reason: str, next_offset: Offset, *, compressed: bool) -> None:
        super().__init__(reason)
        self.next_offset = next_offset
        self.compressed = compressed


class JsonHeader(Struct, forbid_unknown_fields=True):
    """A header of a record: a key, and a value that may be null or base64."""

    key: str
    value: NullableText = UNSET
    value_b64: Text = UNSET


class JsonRecord(Struct, forbid_unknown_fields=True):
    """A record to be written: either ``value`` or ``value_b64`` must be there."""

    value: NullableText = UNSET
    value_b64: Text = UNSET
    key: NullableText = UNSET
    key_b64: Text = UNSET
    headers: list[JsonHeader] | UnsetType = UNSET
    timestamp_ms: Int64 | UnsetType = UNSET


class ProduceBody(Struct, forbid_unknown_fields=True):
    """What is posted to /v1/records."""

    records: Annotated[list[JsonRecord], Meta(min_length=1)]
    acks: int | str | UnsetType = UNSET
    timeout_ms: Timeout | UnsetType = UNSET


class ReadRecord(Struct, omit_defaults=True):
    """A record that was read, as JSON."""

    offset: Offset
    epoch: Epoch
    timestamp_ms: int
    key: NullableText = UNSET
    key_b64: Text = UNSET
    value: NullableText = UNSET
    value_b64: Text = UNSET
    headers: list[JsonHeader] | UnsetType = UNSET


_DECODER: Final = msgspec.json.Decoder(ProduceBody)
_ENCODER: Final = msgspec.json.Encoder()


def read_produce(body: bytes, now_ms: int, bytes_max: int) -> tuple[Batch, int, int]:
    """The sealed batch, acks and time-out in ms that a body asks for.

    Raises BodyError, NoAcks, or TooMuch if the records do not fit into ``bytes_max``.
    """
    try:
        wanted = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(str(error)) from error
    # Encoded again it has each member once; a colon outside of strings belongs to one member.
    if _members(body) != _members(_ENCODER.encode(wanted)):
        raise BodyError("a name stands twice in one object")
    asked: object = "all" if wanted.acks is UNSET else wanted.acks
    if asked not in ACKS:
        raise NoAcks
    timeout_ms = TIMEOUT_MS if isinstance(wanted.timeout_ms, UnsetType) else wanted.timeout_ms
    return _batch(wanted.records, now_ms, bytes_max), ACKS[asked], timeout_ms


def _members(body: bytes) -> int:
    """How many members the objects of this JSON have together; it must be valid."""
    # A run of backslashes begins an escape, so pairs go first, and the quotes left are all ends.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2]).count(b":")


def _batch(wanted: list[JsonRecord], now_ms: int, bytes_max: int) -> Batch:
    builder = Builder(bytes_max, BATCH_RECORDS_MAX)
    for index, one in enumerate(wanted):
        where = f"$.records[{index}]"
        if one.value is UNSET and one.value_b64 is UNSET:
            raise BodyError(f"value or value_b64 is missing - at `{where}`")
        value = _bytes(one.value, one.value_b64, f"{where}.value")
        key = _bytes(one.key, one.key_b64, f"{where}.key")
        headers: Headers = ()
        if not isinstance(one.headers, UnsetType):
            headers = tuple(
                (header.key, _bytes(header.value, header.value_b64, f"{where}.headers[{at}].value"))
                for at, header in enumerate(one.headers)
            )
        stamp = now_ms if isinstance(one.timestamp_ms, UnsetType) else one.timestamp_ms
        try:
            taken = builder.append(value, key=key, headers=headers, timestamp_ms=stamp)
        except RecordTooLarge:
            taken = None
        if taken is None:
            raise TooMuch(
                f"record {index} of {len(wanted)} does not fit any more: a request has at most "
                f"{bytes_max} bytes of records, and {BATCH_RECORDS_MAX} of them"
            )
    return seal(builder.build())


def _bytes(text: NullableText, coded: Text, where: str) -> bytes | None:
    """The bytes that a text or its base64 stands for; None for null and for neither."""
    if isinstance(coded, UnsetType):
        return text.encode() if isinstance(text, str) else None
    if text is not UNSET:
        raise BodyError(f"both as text and as base64 - at `{where}`")
    try:
        return b64decode(coded, validate=True)
    except ValueError as error:
        raise BodyError(f"not base64 - at `{where}_b64`") from error


def written(response: ProduceResponse, count: int) -> bytes:
    """The answer to a produce request whose records were written."""
    return line(
        {
            "base_offset": known(response.base_offset),
            "count": count,
            "epoch": known(response.epoch),
            "hw": response.hw,
        }
    )


def fetched(response: FetchResponse, offset: Offset) -> bytes:
    """The answer to a fetch from ``offset``. Raises Unreadable if its first records cannot be read.

    Ends before the first batch that cannot be read, and after RECORDS_MAX records, be it within a
    batch: whoever goes on at ``next_offset`` misses nothing.
    """
    found: list[ReadRecord] = []
    next_offset = offset
    for batch in response.batches:
        try:
            found += _read(batch, offset, RECORDS_MAX - len(found))
        except (UnsupportedCodec, Damaged) as error:
            if found:
                break
            compressed = isinstance(error, UnsupportedCodec)
            raise Unreadable(str(error), batch.end, compressed=compressed) from error
        if len(found) == RECORDS_MAX:
            next_offset = found[-1].offset + 1
            break
        next_offset = max(next_offset, batch.end)
    return line(
        {
            "records": found,
            "next_offset": next_offset,
            "hw": response.hw,
            "log_start": response.log_start,
            "epoch": response.leader_epoch,
        }
    )


def _read(batch: Batch, offset: Offset, count_max: int) -> list[ReadRecord]:
    """The records of a batch from ``offset`` on, at most so many; whole, or an exception."""
    found: list[ReadRecord] = []
    for record in records(batch):
        if record.offset >= offset:
            found.append(_readable(record, batch.epoch))
            if len(found) == count_max:
                break
    return found


def _readable(record: Record, epoch: Epoch) -> ReadRecord:
    shown = ReadRecord(record.offset, epoch, record.timestamp_ms)
    shown.key, shown.key_b64 = _text(record.key)
    shown.value, shown.value_b64 = _text(record.value)
    if record.headers:
        shown.headers = [JsonHeader(key, *_text(value)) for key, value in record.headers]
    return shown


def _text(content: bytes | None) -> tuple[NullableText, Text]:
    """The bytes as a text, or else as base64."""
    if content is None:
        return None, UNSET
    try:
        return content.decode(), UNSET
    except UnicodeDecodeError:
        return UNSET, b64encode(content).decode()


def health(status: Health, reason: str, node: str, view: DescribeResponse | None) -> bytes:
    """How a broker is; the rest is null while it cannot say."""
    body: dict[str, object] = {"status": status, "node": node}
    body |= dict.fromkeys(("role", "leader", "epoch", "leo", "hw", "isr"))
    if view is not None:
        body |= {"role": view.role, "leader": view.leader, "epoch": view.leader_epoch}
        body |= {"leo": view.leo, "hw": view.hw, "isr": view.isr}
    if reason:
        body["reason"] = reason
    return line(body)


def cluster(name: str, view: DescribeResponse, urls: dict[str, str]) -> bytes:
    """The cluster as one broker sees it; null is what it does not know.

    Of the others a leader knows up to where their logs are the same as its own, and nobody knows
    whether they are up.
    """
    rows: dict[str, dict[str, object]] = {}
    for replica in view.replicas:
        rows[replica.node] = {
            "id": replica.node,
            "url": urls.get(replica.node) or replica.url or None,
            "role": _role(view, replica.node),
            "leo": known(replica.match),
            "hw": None,
            "up": None,
        }
    rows[view.node] = {
        "id": view.node,
        "url": urls.get(view.node) or None,
        "role": view.role,
        "leo": view.leo,
        "hw": view.hw,
        "up": True,
    }
    return line(
        {
            "cluster": name,
            "leader": view.leader,
            "epoch": view.leader_epoch,
            "isr": view.isr,
            "elr": view.elr,
            "hw": view.hw,
            "version": view.partition_epoch,
            "brokers": [row for _, row in sorted(rows.items())],
        }
    )


def _role(view: DescribeResponse, node: str) -> str | None:
    if view.leader is None:
        return None
    return "leader" if node == view.leader else "follower"


def known(number: int) -> int | None:
    """In JSON what is not known is null, not -1."""
    return None if number < 0 else number


def line(body: dict[str, Any]) -> bytes:
    """An object as JSON, with the line end that a terminal wants."""
    return _ENCODER.encode(body) + b"\n"


def size_of(batches: Iterable[Batch]) -> int:
    """Bytes of these batches together."""
    return sum(batch.size for batch in batches)
