"""Conversion between JSON bodies and messages of the core.

A body is parsed strictly: unknown members, duplicate members and wrong types are errors. Values and
keys are bytes in the log. In JSON they are strings, or base64 under a name that ends in ``_b64`` if
they are not UTF-8.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

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
from yak_net.http.sse import event

TIMEOUT_MS: Final = 30_000
TIMEOUT_MS_MAX: Final = 600_000
RECORDS_MAX: Final = 10_000
"""Maximum number of records in one fetch response; the next fetch returns the rest."""
BATCH_RECORDS_MAX: Final = 1 << 16
ACKS: Final[dict[object, int]] = {"all": -1, -1: -1, 1: 1, 0: 0}

Text: TypeAlias = str | UnsetType
NullableText: TypeAlias = str | UnsetType | None
Int64: TypeAlias = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Timeout: TypeAlias = Annotated[int, Meta(ge=0, le=TIMEOUT_MS_MAX)]


class BodyError(Exception):
    """A request body is invalid; the message says what is wrong and where."""


class TooLarge(Exception):
    """The records do not fit into one batch."""


class InvalidAcks(Exception):
    """The value of ``acks`` is not "all", -1, 1 or 0."""


class Unreadable(Exception):
    """Fetched records cannot be converted to JSON; ``next_offset`` is the first offset after them.

    ``compressed`` is True if they use an unsupported codec, False if they are damaged.
    """

    def __init__(self, reason: str, next_offset: Offset, *, compressed: bool) -> None:
        super().__init__(reason)
        self.next_offset = next_offset
        self.compressed = compressed


class JsonHeader(Struct, forbid_unknown_fields=True):
    """A record header: a key, and a value that may be null or base64."""

    key: str
    value: NullableText = UNSET
    value_b64: Text = UNSET


class JsonRecord(Struct, forbid_unknown_fields=True):
    """A record to append; either ``value`` or ``value_b64`` is required."""

    value: NullableText = UNSET
    value_b64: Text = UNSET
    key: NullableText = UNSET
    key_b64: Text = UNSET
    headers: list[JsonHeader] | UnsetType = UNSET
    timestamp_ms: Int64 | UnsetType = UNSET


class ProduceBody(Struct, forbid_unknown_fields=True):
    """Body of ``POST /v1/records``."""

    records: Annotated[list[JsonRecord], Meta(min_length=1)]
    acks: int | str | UnsetType = UNSET
    timeout_ms: Timeout | UnsetType = UNSET


class FetchedRecord(Struct, omit_defaults=True):
    """A fetched record, as JSON."""

    offset: Offset
    epoch: Epoch
    timestamp_ms: int
    key: NullableText = UNSET
    key_b64: Text = UNSET
    value: NullableText = UNSET
    value_b64: Text = UNSET
    headers: list[JsonHeader] | UnsetType = UNSET


_BYTE_ORDER_MARKS: Final = {
    b"\xef\xbb\xbf": "UTF-8",
    b"\xff\xfe": "UTF-16 or UTF-32",
    b"\xfe\xff": "UTF-16",
}
_DECODER: Final = msgspec.json.Decoder(ProduceBody)
_ENCODER: Final = msgspec.json.Encoder()


def parse_produce(body: bytes, now_ms: int, bytes_max: int) -> tuple[Batch, int, int]:
    """Parse a produce body; return the sealed batch, acks, and the timeout in ms.

    ``now_ms`` is the timestamp of records without one. Raises BodyError for an invalid body,
    InvalidAcks for an invalid ``acks``, TooLarge if the records do not fit into ``bytes_max``.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            raise BodyError(
                f"the body begins with a byte order mark ({encoding}); send UTF-8 without it"
            )
    try:
        parsed = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(str(error)) from error
    # msgspec accepts duplicate members. The re-encoded body has each member once, and a colon
    # outside strings belongs to exactly one member, so the counts differ if one is duplicate.
    if _count_members(body) != _count_members(_ENCODER.encode(parsed)):
        raise BodyError("duplicate member in an object")
    acks: object = "all" if parsed.acks is UNSET else parsed.acks
    if acks not in ACKS:
        raise InvalidAcks
    timeout_ms = TIMEOUT_MS if isinstance(parsed.timeout_ms, UnsetType) else parsed.timeout_ms
    return _build_batch(parsed.records, now_ms, bytes_max), ACKS[acks], timeout_ms


def _count_members(body: bytes) -> int:
    """Return the number of members of all objects in ``body``, which must be valid JSON."""
    # Remove escaped backslashes before escaped quotes: each remaining quote delimits a string.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2]).count(b":")


def _build_batch(parsed: list[JsonRecord], now_ms: int, bytes_max: int) -> Batch:
    builder = Builder(bytes_max, BATCH_RECORDS_MAX)
    for index, record in enumerate(parsed):
        where = f"$.records[{index}]"
        if record.value is UNSET and record.value_b64 is UNSET:
            raise BodyError(f"missing value or value_b64 - at `{where}`")
        value = _bytes(record.value, record.value_b64, f"{where}.value")
        key = _bytes(record.key, record.key_b64, f"{where}.key")
        headers: Headers = ()
        if not isinstance(record.headers, UnsetType):
            headers = tuple(
                (header.key, _bytes(header.value, header.value_b64, f"{where}.headers[{at}].value"))
                for at, header in enumerate(record.headers)
            )
        timestamp_ms = now_ms if isinstance(record.timestamp_ms, UnsetType) else record.timestamp_ms
        try:
            appended = builder.append(value, key=key, headers=headers, timestamp_ms=timestamp_ms)
        except RecordTooLarge:
            appended = None
        if appended is None:
            raise TooLarge(
                f"request too large at record {index} of {len(parsed)}: at most {bytes_max} bytes "
                f"of records and {BATCH_RECORDS_MAX} records; split the request"
            )
    return seal(builder.build())


def _bytes(text: NullableText, in_base64: Text, where: str) -> bytes | None:
    """Return the bytes of a string or of base64; None if both are null or absent."""
    if isinstance(in_base64, UnsetType):
        return text.encode() if isinstance(text, str) else None
    if text is not UNSET:
        raise BodyError(f"both a string and base64 are present - at `{where}`")
    try:
        return b64decode(in_base64, validate=True)
    except ValueError as error:
        raise BodyError(f"invalid base64 - at `{where}_b64`") from error


def produce_response(response: ProduceResponse, count: int) -> bytes:
    """Return the JSON response to a successful produce request of ``count`` records."""
    return json_line(
        {
            "base_offset": null_if_unknown(response.base_offset),
            "count": count,
            "epoch": null_if_unknown(response.epoch),
            "hw": response.hw,
        }
    )


def fetch_response(response: FetchResponse, offset: Offset) -> bytes:
    """Return the JSON response to a fetch from ``offset``.

    The response ends before the first unreadable batch, and after RECORDS_MAX records, also within
    a batch. ``next_offset`` is the first offset not returned. Raises Unreadable if the first batch
    is compressed or damaged.
    """
    found: list[FetchedRecord] = []
    next_offset = offset
    for batch in response.batches:
        try:
            found += _records_from(batch, offset, RECORDS_MAX - len(found))
        except (UnsupportedCodec, Damaged) as error:
            if found:
                break
            compressed = isinstance(error, UnsupportedCodec)
            raise Unreadable(str(error), batch.end, compressed=compressed) from error
        if len(found) == RECORDS_MAX:
            next_offset = found[-1].offset + 1
            break
        next_offset = max(next_offset, batch.end)
    return json_line(
        {
            "records": found,
            "next_offset": next_offset,
            "hw": response.hw,
            "log_start": response.log_start,
            "epoch": response.leader_epoch,
        }
    )


def record_events(response: FetchResponse, offset: Offset) -> tuple[bytes, Offset]:
    """Return the records from ``offset`` on as server-sent events, and the next offset.

    The id of an event is the offset of the record. A batch that has no JSON form, because it is
    compressed or damaged, becomes one event "skipped", with the offset after it.
    """
    parts: list[bytes] = []
    for batch in response.batches:
        try:
            found = _records_from(batch, offset, batch.count)
        except (UnsupportedCodec, Damaged) as error:
            skipped = {
                "offset": max(offset, batch.base_offset),
                "next_offset": batch.end,
                "compressed": isinstance(error, UnsupportedCodec),
                "detail": str(error),
            }
            parts.append(event("skipped", skipped, batch.end - 1))
        else:
            parts += [event("", record, record.offset) for record in found]
        offset = max(offset, batch.end)
    return b"".join(parts), offset


def _records_from(batch: Batch, offset: Offset, count_max: int) -> list[FetchedRecord]:
    """Return the records of a batch from ``offset`` on, at most ``count_max``.

    Raises UnsupportedCodec or Damaged.
    """
    found: list[FetchedRecord] = []
    for record in records(batch):
        if record.offset >= offset:
            found.append(_json_record(record, batch.epoch))
            if len(found) == count_max:
                break
    return found


def _json_record(record: Record, epoch: Epoch) -> FetchedRecord:
    json_record = FetchedRecord(record.offset, epoch, record.timestamp_ms)
    json_record.key, json_record.key_b64 = _text(record.key)
    json_record.value, json_record.value_b64 = _text(record.value)
    if record.headers:
        json_record.headers = [JsonHeader(key, *_text(value)) for key, value in record.headers]
    return json_record


def _text(content: bytes | None) -> tuple[NullableText, Text]:
    """Return ``content`` as (string, unset) if it is UTF-8, else as (unset, base64)."""
    if content is None:
        return None, UNSET
    try:
        return content.decode(), UNSET
    except UnicodeDecodeError:
        return UNSET, b64encode(content).decode()


def health(
    status: Health, ready: bool, reason: str, node: str, view: DescribeResponse | None
) -> bytes:
    """Return the JSON of ``GET /health``. Role, leader, epoch, ends and ISR may be null."""
    body: dict[str, object] = {"status": status, "ready": ready, "reason": reason, "node": node}
    body |= dict.fromkeys(("role", "leader", "epoch", "leo", "hw", "isr"))
    if view is not None:
        body |= {"role": view.role, "leader": view.leader, "epoch": view.leader_epoch}
        body |= {"leo": view.leo, "hw": view.hw, "isr": view.isr}
    return json_line(body)


def probe(name: str, holds: bool, reason: str) -> bytes:
    """Return the JSON of ``GET /livez`` and ``GET /readyz``."""
    return json_line({name: holds, "reason": reason})


def cluster(name: str, view: DescribeResponse, urls: dict[str, str]) -> bytes:
    """Return the JSON of ``GET /v1/cluster``: the cluster as one broker sees it.

    Null means unknown. The row of another broker has ``leo`` only on the leader: the offset up to
    which that log matches the leader's log. ``up`` of another broker is always null.
    """
    rows: dict[str, dict[str, object]] = {}
    for replica in view.replicas:
        rows[replica.node] = {
            "id": replica.node,
            "url": urls.get(replica.node) or replica.url or None,
            "role": _role(view, replica.node),
            "leo": null_if_unknown(replica.match),
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
    return json_line(
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


def null_if_unknown(number: int) -> int | None:
    """Return ``number``, or None (JSON null) for the core's -1, which means unknown."""
    return None if number < 0 else number


def json_line(body: object) -> bytes:
    """Return an object as one line of JSON, with a line end for terminals."""
    return _ENCODER.encode(body) + b"\n"


def size_of(batches: Iterable[Batch]) -> int:
    """Return the total size of the batches in bytes."""
    return sum(batch.size for batch in batches)
