"""Show the files of a data folder, in the form of ``kafka-dump-log``."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from yak_core.batch import Batch, BatchError, Record, Torn, UnsupportedCodec, records
from yak_core.batch.header import CODEC_BITS, CODECS, HEADER
from yak_core.broker.saved_state import STATE_KEY
from yak_core.ids import Offset
from yak_core.metadata.partition_state import PartitionStateError, decode_partition_state
from yak_net.log_files.reading import (
    Entry,
    LogFile,
    checkpoint_of,
    epochs_of,
    is_folder,
    read_folder,
    value_of,
)
from yak_net.storage.checkpoints import DAMAGED, REWRITE, VERIFY
from yak_net.storage.folder import CHECKPOINT, DAMAGED_SUFFIX, EPOCHS, IDENTITY, SAVED, SEGMENT
from yak_net.storage.session import WRITTEN
from yak_net.storage.system import StorageError

Line: TypeAlias = dict[str, Any]
"""One line of output: the members of its JSON object; ``kind`` says what it is."""

_FLAGS: Final = {DAMAGED: "damaged", VERIFY: "verify", REWRITE: "rewrite"}
_SUFFIXES: Final = (SEGMENT, DAMAGED_SUFFIX)


@dataclass
class Dump:
    """What to show: batches from ``start`` on, at most ``count_max``, with their records or not.

    ``invalid_bytes`` counts the bytes that are no intact batch, ``torn`` those of them that are an
    unfinished batch at the end of a file.
    """

    with_records: bool = False
    start: Offset = 0
    count_max: int | None = None
    invalid_bytes: int = 0
    torn: int = 0

    def lines(self, path: Path) -> Iterator[Line]:
        """Yield the lines of a data folder or of one of its files. Raises StorageError, OSError."""
        if path.is_dir():
            yield from self._folder(path)
        elif path.suffix in _SUFFIXES:
            yield from self._log(path)
        else:
            yield from _small_file(path)

    def _folder(self, path: Path) -> Iterator[Line]:
        if not is_folder(path):
            raise StorageError(
                f"{path} is no data folder of a broker: found no {IDENTITY}; give a data folder, "
                "such as .yak/data/n1, or a file in it"
            )
        folder = read_folder(path)
        yield {
            "kind": "folder",
            "path": str(path),
            "node": folder.identity.node,
            "cluster": folder.identity.cluster,
            "in_use_by": folder.holder,
        }
        for problem in folder.problems:
            yield {"kind": "problem", "path": str(path), "problem": problem}
        for name in (CHECKPOINT, WRITTEN, EPOCHS):
            if (path / name).exists() and not (name == EPOCHS and folder.epochs is None):
                yield from _small_file(path / name)
        for file in sorted((path / SAVED).glob("*")):
            try:
                yield from _small_file(file)
            except StorageError:
                continue  # it is among the problems
        for segment in folder.segments:
            yield from self._log(segment)

    def _log(self, path: Path) -> Iterator[Line]:
        with LogFile(path) as log:
            yield {"kind": "log", "path": str(path), "bytes": log.size, "base": log.base}
            shown = batches = found = 0
            first: Offset | None = None
            end = log.base or 0
            for entry in log.entries():
                if entry.batch is None:
                    yield self._invalid(log, entry)
                    continue
                batch = entry.batch
                first = batch.base_offset if first is None else first
                end = batch.end
                batches += 1
                found += batch.count
                if batch.end <= self.start or shown == self.count_max:
                    continue
                shown += 1
                yield _batch(entry.position, batch)
                if self.with_records:
                    yield from _records(batch, self.start)
            yield {
                "kind": "end",
                "path": str(path),
                "batches": batches,
                "records": found,
                "first_offset": first,
                "end_offset": end,
            }

    def _invalid(self, log: LogFile, entry: Entry) -> Line:
        error = entry.error
        assert error is not None
        rest = log.size - entry.position
        torn = isinstance(error, Torn)
        size = rest if torn or error.size is None else min(error.size, rest)
        self.invalid_bytes += size
        self.torn += size if torn else 0
        return {
            "kind": "invalid",
            "position": entry.position,
            "bytes": size,
            "torn": torn,
            "reason": str(error),
        }


def _batch(position: int, batch: Batch) -> Line:
    attributes = HEADER.unpack_from(batch.data)[5]
    return {
        "kind": "batch",
        "base_offset": batch.base_offset,
        "last_offset": batch.end - 1,
        "count": batch.count,
        "base_sequence": batch.base_sequence,
        "last_sequence": batch.last_sequence,
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "epoch": batch.epoch,
        "position": position,
        "max_timestamp_ms": batch.max_timestamp,
        "size": batch.size,
        "codec": CODECS[attributes & CODEC_BITS],
        "crc": batch.crc,
        "valid": True,
    }


def _records(batch: Batch, start: Offset) -> Iterator[Line]:
    try:
        for record in records(batch):
            if record.offset >= start:
                yield _record(record)
    except UnsupportedCodec as error:
        yield {"kind": "note", "note": str(error)}
    except BatchError as error:
        yield {"kind": "problem", "path": "", "problem": str(error)}


def _record(record: Record) -> Line:
    line: Line = {
        "kind": "record",
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        **_content("key", record.key),
        **_content("value", record.value),
    }
    if record.headers:
        line["headers"] = [
            {"key": name, **_content("value", content)} for name, content in record.headers
        ]
    return line


def _content(name: str, content: bytes | None) -> Line:
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(content).decode()}


def _small_file(path: Path) -> Iterator[Line]:
    """Yield the lines of a file beside the log. Raises StorageError, OSError."""
    if path.name in (CHECKPOINT, WRITTEN):
        found = checkpoint_of(path)
        line: Line = {"kind": "checkpoint", "path": str(path), "valid": found is not None}
        if found is not None:
            flags = [name for flag, name in _FLAGS.items() if found.flags & flag]
            line |= {"end": found.end, "position": found.position, "segment": found.segment}
            line |= {"flags": flags}
        yield line
    elif path.name == EPOCHS:
        for epoch, start in epochs_of(path) or ():
            yield {"kind": "epoch", "epoch": epoch, "start": start}
    elif path.parent.name == SAVED:
        value = value_of(path)
        text = value.decode(errors="backslashreplace")
        if path.name == STATE_KEY:
            text = _state(value)
        yield {"kind": "value", "key": path.name, "value": text}
    elif path.name == IDENTITY:
        yield {"kind": "identity", "path": str(path), **json.loads(path.read_bytes())}
    else:
        known = f"*{SEGMENT}, *{DAMAGED_SUFFIX}, {CHECKPOINT}, {WRITTEN}, {EPOCHS}, {IDENTITY}"
        raise StorageError(
            f"{path} is no file that can be shown; give a data folder, or one of its files "
            f"{known}, {SAVED}/*"
        )


def _state(value: bytes) -> Any:
    """Return a partition state as values of JSON. Raises StorageError."""
    try:
        state = decode_partition_state(value)
    except PartitionStateError as error:
        raise StorageError(f"the saved partition state is damaged: {error}") from error
    return json.loads(json.dumps(dataclasses.asdict(state)))


_KAFKA: Final = {
    "base_offset": "baseOffset",
    "last_offset": "lastOffset",
    "count": "count",
    "base_sequence": "baseSequence",
    "last_sequence": "lastSequence",
    "producer_id": "producerId",
    "producer_epoch": "producerEpoch",
    "epoch": "partitionLeaderEpoch",
    "position": "position",
    "max_timestamp_ms": "CreateTime",
    "size": "size",
    "codec": "compresscodec",
    "crc": "crc",
    "valid": "isvalid",
}
"""Members of a batch, and their names in the output of ``kafka-dump-log``."""


def text_of(line: Line) -> str:
    """Return a line as text."""
    match line["kind"]:
        case "batch":
            return " ".join(f"{name}: {_word(line[key])}" for key, name in _KAFKA.items())
        case "record":
            return _record_text(line)
        case "log":
            base = f"\nLog starting offset: {line['base']}" if line["base"] is not None else ""
            return f"Dumping {line['path']}{base}"
        case "invalid":
            what = "unfinished batch" if line["torn"] else "invalid bytes"
            return (
                f"position: {line['position']} isvalid: false {what}, {line['bytes']} bytes: "
                + (str(line["reason"]))
            )
        case "end":
            first = line["end_offset"] if line["first_offset"] is None else line["first_offset"]
            sizes = f"{line['batches']} batches, {line['records']} records"
            return f"{sizes}, offsets [{first}, {line['end_offset']})"
        case "checkpoint" if not line["valid"]:
            return f"{Path(line['path']).name}: missing or damaged"
        case "checkpoint":
            flags = ",".join(line["flags"]) or "none"
            place = f"at byte {line['position']} of segment {line['segment']}"
            return f"{Path(line['path']).name}: offset {line['end']} {place}, flags: {flags}"
        case "epoch":
            return f"epoch: {line['epoch']} startOffset: {line['start']}"
        case "value":
            value = line["value"]
            return f"saved {line['key']}: {value if isinstance(value, str) else json.dumps(value)}"
        case "folder":
            use = "" if line["in_use_by"] is None else f", in use by process {line['in_use_by']}"
            return f"{line['path']}: broker {line['node']} of cluster {line['cluster']}{use}"
        case "note":
            return f"note: {line['note']}"
        case "problem":
            return f"problem: {line['problem']}"
    return json.dumps(line)


def _record_text(line: Line) -> str:
    def size(name: str) -> int:
        if f"{name}_b64" in line:
            return len(base64.b64decode(line[f"{name}_b64"]))
        return -1 if line[name] is None else len(line[name].encode())

    parts = [f"| offset: {line['offset']} CreateTime: {line['timestamp_ms']}"]
    parts.append(f"keySize: {size('key')} valueSize: {size('value')}")
    parts.append(f"headerKeys: [{','.join(each['key'] for each in line.get('headers', ()))}]")
    for name, title in (("key", "key"), ("value", "payload")):
        if f"{name}_b64" in line:
            parts.append(f"{title} (base64): {line[f'{name}_b64']}")
        elif line[name] is not None:
            parts.append(f"{title}: {line[name]}")
    return " ".join(parts)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
