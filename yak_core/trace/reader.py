"""Reading and writing whole traces as lines of bytes, and the digest of a trace.

A trace file has one JSON object per line: a header, then steps and faults in their order, a
checkpoint line after every 1,000th step, and a footer (docs/formats.md lists the fields). Each line
ends with the CRC-32C of itself and of all lines before it, without their ``crc`` fields. So a
changed, missing, added or swapped line is detected at its position. A file without a footer is
incomplete.

The digest is 128 bits of BLAKE2b over the steps and faults. It does not cover the header, so equal
runs have equal digests even if their scenario names differ.

:mod:`yak_core.trace.writer` makes the single lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final, cast

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.encoding.json_scalars import Mismatch
from yak_core.trace.recorder import STEPS_MAX, Fault, Header, Step, Trace
from yak_core.trace.schema_1 import upgraded
from yak_core.trace.writer import (
    CRC_BYTES,
    EFFECT,
    EVENT,
    KIND,
    SCHEMA,
    TraceLines,
    WholeTraceClocks,
    checkpoint_body,
    with_crc,
)

SCHEMAS: Final = (1, SCHEMA)


class TraceError(ValueError):
    """The lines are not an intact trace; ``line`` is the line number, from 1, or 0 if unknown."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


def encode_trace(trace: Trace) -> Iterator[bytes]:
    """Yield the lines of the trace file, each with its newline.

    Raises Mismatch for an event or effect with a wrong type.
    """
    lines = TraceLines(trace.header, WholeTraceClocks(trace))
    yield lines.first
    for chunk in _chunks(trace, lines):
        yield from chunk.splitlines(keepends=True)
    yield lines.footer(trace.dropped)


def digest_of(trace: Trace) -> str:
    """Return the digest of the steps and faults: 32 hexadecimal digits."""
    lines = TraceLines(trace.header, WholeTraceClocks(trace))
    for _ in _chunks(trace, lines):
        pass
    return lines.digest


def _chunks(trace: Trace, lines: TraceLines) -> Iterator[bytes]:
    """Yield the lines between header and footer; a step and its checkpoint are one chunk."""
    faults = list(zip(trace.fault_positions, trace.faults, strict=True))
    at = 0
    for step in trace:
        while at < len(faults) and faults[at][0] <= step.i:
            yield lines.fault(faults[at][1])
            at += 1
        yield lines.step(*step[1:7], done=step.done)
    for _, fault in faults[at:]:
        yield lines.fault(fault)


def decode_trace(lines: Iterable[bytes], *, incomplete: bool = False) -> Trace:
    """Decode the lines of :func:`encode_trace`; payloads are decoded as Elided.

    ``incomplete`` also accepts a file without a footer, as a killed process leaves it, and reads it
    up to its last complete line. Raises TraceError, and no other error, for lines that are not an
    intact trace.
    """
    reader = TraceReader(lines, incomplete=incomplete)
    trace = Trace(reader.header, limit=sys.maxsize)
    for found in reader:
        if isinstance(found, Fault):
            trace.fault(found)
        else:
            trace.record(*found[1:7])
            if found.done < len(found.effects):
                trace.carried_out(found.i, found.done)
    trace.dropped = reader.dropped
    trace.limit = max(STEPS_MAX, len(trace))
    return trace


def digest_of_file(lines: Iterable[bytes]) -> str:
    """Recompute the digest from the lines of a trace file, and check all of them.

    Raises TraceError, which names line and record, if they are not a complete, intact trace.
    """
    reader = TraceReader(lines)
    for _ in reader.records():
        pass
    return reader.digest


class TraceReader:
    """Reads a trace line by line, and checks checksums, order, checkpoints and footer.

    Iteration yields steps and faults in order. It raises TraceError at the first line that is not
    valid, and at the end of an incomplete file unless ``incomplete`` is set. The constructor reads
    the header, so it can raise TraceError too, and sets ``schema``. ``digest``, ``dropped`` and
    ``was_incomplete`` are set after the last line.
    """

    def __init__(self, lines: Iterable[bytes], *, incomplete: bool = False) -> None:
        self._lines = iter(lines)
        self._incomplete = incomplete
        self._hash = blake2b(digest_size=16)
        self._crc = 0
        self._line = 1
        self._steps = 0
        self._faults = 0
        self.dropped = 0
        self.digest = ""
        self.was_incomplete = False
        self.schema = SCHEMA
        self.header = self._read_header(next(self._lines, b""))

    def __iter__(self) -> Iterator[Step | Fault]:
        """Yield the decoded steps and faults; payloads are decoded as Elided."""
        for body in self.records():
            value = self._parse(body)
            if self.schema == 1:
                value = cast(dict[str, object], upgraded(value))
            try:
                if "fault" in value:
                    yield _read_fault(value["fault"])
                else:
                    yield _read_step(value, self._steps)
            except Mismatch as mismatch:
                raise self._error(f"cannot be read: {mismatch}") from None

    def _error(self, what: str) -> TraceError:
        """Return the error for the present line; ``what`` is a predicate, such as ``is damaged``.

        The message names line, record and the number of steps before it.
        """
        return TraceError(
            f"line {self._line} (record {self._line - 1}, after {self._steps} steps) {what}",
            self._line,
        )

    def _parse(self, body: bytes) -> dict[str, object]:
        """Parse the JSON object whose text is ``body`` and a closing brace."""
        try:
            value: object = json.loads(body + b"}")
        except (ValueError, RecursionError) as wrong:
            raise self._error(f"is not JSON: {wrong}") from None
        assert isinstance(value, dict), "the caller passed a body that does not begin with a brace"
        return value

    def records(self) -> Iterator[bytes]:
        """Yield the checked bodies of steps and faults; ``digest`` is set after the last one."""
        for line in self._lines:
            self._line += 1
            if self.digest:
                raise self._error("follows the footer, which must be the last line")
            if self._incomplete and not line.endswith(b"\n"):
                break
            body = self._check_crc(line)
            if body.startswith(b'{"i":'):
                self._hash.update(body + b"\n")
                yield body
                self._steps += 1
            elif body.startswith(b'{"fault":'):
                self._hash.update(body + b"\n")
                yield body
                self._faults += 1
            elif body.startswith(b'{"checkpoint":'):
                if body != checkpoint_body(self._steps, self._hash.hexdigest()):
                    raise self._error(
                        f"is a checkpoint that differs from the {self._steps} steps before it"
                    )
            elif body.startswith(b'{"end":'):
                self._read_footer(body)
            else:
                raise self._error("is not a step, fault, checkpoint or footer")
        if not self.digest:
            if not self._incomplete:
                raise self._error("is the last line but not a footer: the file is incomplete")
            self.was_incomplete = True
            self.digest = self._hash.hexdigest()

    def _check_crc(self, line: bytes) -> bytes:
        body = line[:-CRC_BYTES]
        again, self._crc = with_crc(body, self._crc)
        if again != line:
            if not line.endswith(b"\n"):
                raise self._error("has no newline: the file is incomplete or its end is damaged")
            raise self._error("is damaged: its checksum does not match the lines up to it")
        return body

    def _read_header(self, line: bytes) -> Header:
        if not line:
            raise TraceError("not a trace: the file is empty", 1)
        try:
            value: object = json.loads(line.decode())
        except UnicodeDecodeError:
            raise TraceError("not a trace: line 1 is not UTF-8", 1) from None
        except (ValueError, RecursionError):
            raise TraceError("not a trace: line 1 is not a JSON object", 1) from None
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise TraceError(f'not a trace: line 1 has no "kind":"{KIND}"', 1)
        schema = value.get("schema")
        if schema not in SCHEMAS:
            known = " and ".join(map(str, SCHEMAS))
            raise TraceError(f"line 1 has schema {schema!r}; this version reads schemas {known}", 1)
        self.schema = int(schema)
        self._check_crc(line)
        world, scenario = value.get("world"), value.get("scenario")
        seed, version = value.get("seed"), value.get("version")
        if not isinstance(world, str) or not isinstance(scenario, str):
            raise self._error("is a header without a valid world or scenario")
        if not isinstance(version, str) or type(seed) is not int:
            raise self._error("is a header without a valid seed or version")
        return Header(world, scenario, seed, version)

    def _read_footer(self, body: bytes) -> None:
        end = self._parse(body)["end"]
        dropped = end.get("dropped") if isinstance(end, dict) else None
        if type(dropped) is not int or dropped < 0:
            raise self._error(f"is a footer with an invalid number of dropped steps: {dropped!r}")
        digest = self._hash.hexdigest()
        counted = {"steps": self._steps, "faults": self._faults, "dropped": dropped}
        if end != {**counted, "digest": digest}:
            raise self._error(
                f"is a footer that differs from the {self._steps} steps and {self._faults} faults "
                "before it"
            )
        self.dropped = dropped
        self.digest = digest


def _read_step(value: dict[str, object], number: int) -> Step:
    """Decode the object of a step line. Raises Mismatch if a field is missing or wrong."""
    i, t_us, start, cause = value.get("i"), value.get("t"), value.get("start"), value.get("cause")
    node, effects = value.get("n"), value.get("fx")
    if i != number:
        raise Mismatch(f'"i" must be {number}, got {i!r}')
    if type(t_us) is not int or type(start) is not int or type(cause) is not int:
        raise Mismatch('"t", "start" and "cause" must be integers')
    if not -1 <= cause < number:
        raise Mismatch(f'"cause" must be an earlier step or -1, got {cause}')
    if not isinstance(node, str) or not isinstance(effects, list):
        raise Mismatch('"n" must be a string and "fx" a list')
    event: Event = EVENT.decode(value.get("ev"))  # type: ignore[assignment]
    decoded: list[Effect] = [EFFECT.decode(effect) for effect in effects]  # type: ignore[misc]
    done = value.get("done", len(decoded))
    if type(done) is not int or not 0 <= done <= len(decoded):
        raise Mismatch(f'"done" must be 0 to {len(decoded)}, the number of effects, got {done!r}')
    return Step(number, t_us, node, start, event, decoded, cause, done)


def _read_fault(value: object) -> Fault:
    """Decode the object of a fault line. Raises Mismatch if a field is missing or wrong."""
    if not isinstance(value, dict):
        raise Mismatch("the fault is not an object")
    at_us, kind, target = value.get("at_us"), value.get("kind"), value.get("target")
    for_us = value.get("for_us")
    if type(at_us) is not int or not isinstance(kind, str) or not isinstance(target, str):
        raise Mismatch('"at_us" of the fault must be an integer, "kind" and "target" strings')
    if for_us is not None and type(for_us) is not int:
        raise Mismatch(f'"for_us" of the fault must be an integer or null, got {for_us!r}')
    details: list[tuple[str, int | str]] = []
    for name, detail in value.items():
        if name in ("at_us", "kind", "target", "for_us"):
            continue
        if type(detail) is not int and not isinstance(detail, str):
            raise Mismatch(f'"{name}" of the fault must be an integer or a string, got {detail!r}')
        details.append((str(name), detail))
    return Fault(at_us, kind, target, for_us, tuple(details))
