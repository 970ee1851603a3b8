"""The file format and the digest of a trace, as lines of bytes; must never open a file itself.

A trace file has one JSON object a line: a header, then steps and faults in the order in which they
happened, a checkpoint after every 1,000 steps, and a footer (docs/formats.md has the fields). Every
line ends with the CRC-32C of itself and all lines before it, less their ``crc`` fields: a changed,
missing, added or swapped line is found where it is, and a file without a footer was cut short.

The digest, 128 bits of BLAKE2b, covers steps and faults, not the header, so runs that did the same
have the same digest whatever they were called.

Here a whole trace is written and read; :mod:`yak_core.trace.writer` makes the lines one by one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final, cast

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.encoding.json_scalars import Misfit
from yak_core.trace.recorder import LIMIT, Fault, Header, Step, Trace
from yak_core.trace.schema_1 import upgraded
from yak_core.trace.writer import (
    EFFECT,
    EVENT,
    KIND,
    SCHEMA,
    SEAL_BYTES,
    Foreseen,
    TraceLines,
    checkpoint_body,
    sealed,
)

SCHEMAS: Final = (1, SCHEMA)
READ: Final = " and ".join(map(str, SCHEMAS))


class TraceError(ValueError):
    """One sentence on why lines are not an intact trace; ``line`` is its number from 1, or 0."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


def encode_trace(trace: Trace) -> Iterator[bytes]:
    """The lines of the trace file, each with its newline. Misfit for a value that is no message."""
    lines = TraceLines(trace.header, Foreseen(trace))
    yield lines.first
    for chunk in _chunks(trace, lines):
        yield from chunk.splitlines(keepends=True)
    yield lines.footer(trace.dropped)


def digest_of(trace: Trace) -> str:
    """The digest of the steps and faults: 32 hexadecimal digits."""
    lines = TraceLines(trace.header, Foreseen(trace))
    for _ in _chunks(trace, lines):
        pass
    return lines.digest


def _chunks(trace: Trace, lines: TraceLines) -> Iterator[bytes]:
    """The lines between header and footer; those of a step and its checkpoint are one chunk."""
    faults = list(zip(trace.fault_positions, trace.faults, strict=True))
    at = 0
    for step in trace:
        while at < len(faults) and faults[at][0] <= step.i:
            yield lines.fault(faults[at][1])
            at += 1
        yield lines.step(*step[1:7], done=step.done)
    for _, fault in faults[at:]:
        yield lines.fault(fault)


def decode_trace(lines: Iterable[bytes], *, cut_short: bool = False) -> Trace:
    """The trace that :func:`encode_trace` wrote; payloads come back as Elided.

    ``cut_short`` also takes a file that ends early, up to its last whole line, as a killed process
    leaves it. Raises TraceError, and nothing else, for whatever is not an intact trace.
    """
    reader = TraceReader(lines, cut_short=cut_short)
    trace = Trace(reader.header, limit=sys.maxsize)
    for found in reader:
        if isinstance(found, Fault):
            trace.fault(found)
        else:
            trace.record(*found[1:7])
            if found.done < len(found.effects):
                trace.carried_out(found.i, found.done)
    trace.dropped = reader.dropped
    trace.limit = max(LIMIT, len(trace))
    return trace


def digest_of_file(lines: Iterable[bytes]) -> str:
    """The digest recomputed from the lines of a trace file, each byte of which is checked.

    Raises TraceError, which names line and record, for whatever is not a whole, intact trace.
    """
    reader = TraceReader(lines)
    for _ in reader.records():
        pass
    return reader.digest


class TraceReader:
    """Reads a trace line by line, and checks it meanwhile: seals, order, checkpoints and footer.

    Going through it gives steps and faults in order, and at the end, or wherever the trace is not
    intact, a TraceError; from the first line that can come when the reader is made. Afterwards
    ``digest`` and ``dropped`` are known, and whether the file ``was_cut_short``, which must have
    been allowed by ``cut_short``. ``schema`` is known from the beginning.
    """

    def __init__(self, lines: Iterable[bytes], *, cut_short: bool = False) -> None:
        self._lines = iter(lines)
        self._cut_short = cut_short
        self._sums = blake2b(digest_size=16)
        self._crc = 0
        self._line = 1
        self._steps = 0
        self._faults = 0
        self.dropped = 0
        self.digest = ""
        self.was_cut_short = False
        self.schema = SCHEMA
        self.header = self._read_header(next(self._lines, b""))

    def __iter__(self) -> Iterator[Step | Fault]:
        """The steps and faults, decoded; payloads come back as Elided."""
        for body in self.records():
            value = self._parsed(body)
            if self.schema == 1:
                value = cast(dict[str, object], upgraded(value))
            try:
                if "fault" in value:
                    yield _read_fault(value["fault"])
                else:
                    yield _read_step(value, self._steps)
            except Misfit as misfit:
                raise self._error(f"cannot be read: {misfit}") from None

    def _error(self, what: str) -> TraceError:
        """The error that the present line ``what``, for example ``is damaged``."""
        return TraceError(
            f"Line {self._line} of the trace (record {self._line - 1}, "
            f"after {self._steps} steps) {what}.",
            self._line,
        )

    def _parsed(self, body: bytes) -> dict[str, object]:
        """The JSON object whose text is ``body`` and a closing brace."""
        try:
            value: object = json.loads(body + b"}")
        except (ValueError, RecursionError) as wrong:
            raise self._error(f"is not JSON: {wrong}") from None
        assert isinstance(value, dict), "a record begins with a brace"
        return value

    def records(self) -> Iterator[bytes]:
        """The bodies of steps and faults, checked up to here; after the last, ``digest`` is set."""
        for line in self._lines:
            self._line += 1
            if self.digest:
                raise self._error("follows the footer, which should be the last line")
            if self._cut_short and not line.endswith(b"\n"):
                break
            body = self._unsealed(line)
            if body.startswith(b'{"i":'):
                self._sums.update(body + b"\n")
                yield body
                self._steps += 1
            elif body.startswith(b'{"fault":'):
                self._sums.update(body + b"\n")
                yield body
                self._faults += 1
            elif body.startswith(b'{"checkpoint":'):
                if body != checkpoint_body(self._steps, self._sums.hexdigest()):
                    raise self._error("is a checkpoint that does not fit the records before it")
            elif body.startswith(b'{"end":'):
                self._read_footer(body)
            else:
                raise self._error("is no step, fault, checkpoint or footer")
        if not self.digest:
            if not self._cut_short:
                what = "is the last one and no footer: the file was cut short"
                raise self._error(what)
            self.was_cut_short = True
            self.digest = self._sums.hexdigest()

    def _unsealed(self, line: bytes) -> bytes:
        body = line[:-SEAL_BYTES]
        again, self._crc = sealed(body, self._crc)
        if again != line:
            if not line.endswith(b"\n"):
                raise self._error("ends early: the file was cut short or its end is damaged")
            raise self._error("is damaged: its checksum does not fit")
        return body

    def _read_header(self, line: bytes) -> Header:
        if not line:
            raise TraceError("This is not a trace: it is empty.", 1)
        try:
            value: object = json.loads(line.decode())
        except UnicodeDecodeError:
            raise TraceError("Line 1 is not UTF-8, so this is not a trace.", 1) from None
        except (ValueError, RecursionError):
            raise TraceError("Line 1 is not a JSON object, so this is not a trace.", 1) from None
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise TraceError(f'Line 1 is not the header of a trace: no "kind":"{KIND}".', 1)
        schema = value.get("schema")
        if schema not in SCHEMAS:
            raise TraceError(
                f"Line 1 says that the trace has schema {schema!r}; this version reads {READ}.", 1
            )
        self.schema = int(schema)
        self._unsealed(line)
        world, scenario = value.get("world"), value.get("scenario")
        seed, version = value.get("seed"), value.get("version")
        if not isinstance(world, str) or not isinstance(scenario, str):
            raise self._error("is a header that lacks world or scenario")
        if not isinstance(version, str) or type(seed) is not int:
            raise self._error("is a header that lacks seed or version")
        return Header(world, scenario, seed, version)

    def _read_footer(self, body: bytes) -> None:
        end = self._parsed(body)["end"]
        dropped = end.get("dropped") if isinstance(end, dict) else None
        if type(dropped) is not int or dropped < 0:
            raise self._error("is a footer that does not say how many steps were dropped")
        digest = self._sums.hexdigest()
        counted = {"steps": self._steps, "faults": self._faults, "dropped": dropped}
        if end != {**counted, "digest": digest}:
            raise self._error("is a footer that does not fit the records before it")
        self.dropped = dropped
        self.digest = digest


def _read_step(value: dict[str, object], number: int) -> Step:
    """One step's line. Misfit when a field is missing or wrong."""
    i, t_us, start, cause = value.get("i"), value.get("t"), value.get("start"), value.get("cause")
    node, effects = value.get("n"), value.get("fx")
    if i != number:
        raise Misfit(f"its number is {i!r} where {number} comes next")
    if type(t_us) is not int or type(start) is not int or type(cause) is not int:
        raise Misfit('"t", "start" and "cause" are not all integers')
    if not -1 <= cause < number:
        raise Misfit(f"its cause {cause} is not an earlier step")
    if not isinstance(node, str) or not isinstance(effects, list):
        raise Misfit('"n" is not a string or "fx" not a list')
    event: Event = EVENT.decode(value.get("ev"))  # type: ignore[assignment]
    decoded: list[Effect] = [EFFECT.decode(effect) for effect in effects]  # type: ignore[misc]
    done = value.get("done", len(decoded))
    if type(done) is not int or not 0 <= done <= len(decoded):
        raise Misfit(f'"done" is {done!r}, and there are {len(decoded)} effects')
    return Step(number, t_us, node, start, event, decoded, cause, done)


def _read_fault(value: object) -> Fault:
    """The object of a fault's line. Misfit when a field is missing or wrong."""
    if not isinstance(value, dict):
        raise Misfit("the fault is not an object")
    at_us, kind, target = value.get("at_us"), value.get("kind"), value.get("target")
    for_us = value.get("for_us")
    if type(at_us) is not int or not isinstance(kind, str) or not isinstance(target, str):
        raise Misfit('the fault lacks "at_us", "kind" or "target"')
    if for_us is not None and type(for_us) is not int:
        raise Misfit('"for_us" of the fault is neither an integer nor null')
    details: list[tuple[str, int | str]] = []
    for name, detail in value.items():
        if name in ("at_us", "kind", "target", "for_us"):
            continue
        if type(detail) is not int and not isinstance(detail, str):
            raise Misfit(f"{name!r} of the fault is neither an integer nor a string")
        details.append((str(name), detail))
    return Fault(at_us, kind, target, for_us, tuple(details))
