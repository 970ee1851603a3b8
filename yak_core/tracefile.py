"""The file format and the digest of a trace, as lines of bytes; must never open a file itself.

A trace file has one JSON object a line: a header, then steps and faults in the order in which they
happened, a checkpoint after every 1,000 steps, and a footer (docs/formats.md has the fields). Every
line ends with the CRC-32C of itself and all lines before it, less their ``crc`` fields: a changed,
missing, added or swapped line is found where it is, and a file without a footer was cut short.

The digest, 128 bits of BLAKE2b, covers steps and faults, not the header, so runs that did the same
have the same digest whatever they were called.

A vector clock counts, for each node, its steps that could have caused this one: the node's own and,
through ``cause``, those of whoever sent what arrived. What nodes learn from one another through the
metadata store is not in it, because the store is not a node.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from crc32c import crc32c

from yak_core.effects import Effect
from yak_core.encoding import EFFECT, EVENT
from yak_core.events import Event
from yak_core.ids import NodeId
from yak_core.scalars import Misfit, quoted
from yak_core.trace import LIMIT, Fault, Header, Kept, Trace

SCHEMA: Final = 1
KIND: Final = "yak-trace"
CHECKPOINT_STEPS: Final = 1_000

_SEAL_BYTES: Final = len(b',"crc":"00000000"}\n')


class TraceError(ValueError):
    """One sentence on why lines are not an intact trace; ``line`` is its number from 1, or 0."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


def encode_trace(trace: Trace) -> Iterator[bytes]:
    """The lines of the trace file, each with its newline. Misfit for a value that is no message."""
    header = trace.header
    crc = 0
    body = (
        f'{{"schema":{SCHEMA},"kind":{quoted(KIND)},"world":{quoted(header.world)},'
        f'"scenario":{quoted(header.scenario)},"seed":{header.seed:d},'
        f'"version":{quoted(header.version)}'
    ).encode()
    line, crc = _sealed(body, crc)
    yield line
    sums = blake2b(digest_size=16)
    for steps, body in _bodies(trace):
        sums.update(body + b"\n")
        line, crc = _sealed(body, crc)
        yield line
        if steps and steps % CHECKPOINT_STEPS == 0:
            line, crc = _sealed(_checkpoint(steps, sums.hexdigest()), crc)
            yield line
    counts = f'"steps":{len(trace)},"faults":{len(trace.faults)},"dropped":{trace.dropped}'
    body = f'{{"end":{{{counts},"digest":"{sums.hexdigest()}"}}'.encode()
    yield _sealed(body, crc)[0]


def digest_of(trace: Trace) -> str:
    """The digest of the steps and faults: 32 hexadecimal digits."""
    sums = blake2b(digest_size=16)
    for _, body in _bodies(trace):
        sums.update(body + b"\n")
    return sums.hexdigest()


def checkpoints_of(trace: Trace) -> tuple[str, ...]:
    """The digest after each 1,000 steps: where two of these first differ, so do their runs."""
    sums = blake2b(digest_size=16)
    found: list[str] = []
    for steps, body in _bodies(trace):
        sums.update(body + b"\n")
        if steps and steps % CHECKPOINT_STEPS == 0:
            found.append(sums.hexdigest())
    return tuple(found)


def _sealed(body: bytes, crc: int) -> tuple[bytes, int]:
    """The line of ``body``, an object without its closing brace, and the chain's next CRC."""
    crc = crc32c(body, crc)
    return (b'%b,"crc":"%08x"}\n' % (body, crc), crc)


def _checkpoint(steps: int, digest: str) -> bytes:
    return f'{{"checkpoint":{{"steps":{steps},"digest":"{digest}"}}'.encode()


def _bodies(trace: Trace) -> Iterator[tuple[int, bytes]]:
    """(steps so far, or 0 after a fault; JSON object without its closing brace) of each record."""
    clocks = _Clocks(trace)
    faults = list(zip(trace.fault_positions, trace.faults, strict=True))
    encode_event, encode_effect = EVENT.encode, EFFECT.encode
    at = 0
    for i, (t_us, node, life, event, effects, cause) in enumerate(trace.kept):
        while at < len(faults) and faults[at][0] <= i:
            yield (0, _fault_body(faults[at][1]))
            at += 1
        try:
            ev = encode_event(event)
            fx = ",".join([encode_effect(effect) for effect in effects])
        except Misfit as misfit:
            raise misfit.inside(f"step {i} of {node}, ") from None
        text = (
            f'{{"i":{i},"t":{t_us},"n":{quoted(node)},"inc":{life},"cause":{cause},'
            f'"ev":{ev},"fx":[{fx}],"vc":{{{clocks.advance(i, node, cause)}}}'
        )
        yield (i + 1, text.encode("ascii"))
    for _, fault in faults[at:]:
        yield (0, _fault_body(fault))


def _fault_body(fault: Fault) -> bytes:
    for_us = "null" if fault.for_us is None else f"{fault.for_us:d}"
    parts = [
        f'"at_us":{fault.at_us:d}',
        f'"kind":{quoted(fault.kind)}',
        f'"target":{quoted(fault.target)}',
        f'"for_us":{for_us}',
    ]
    for name, value in fault.details:
        text = quoted(value) if isinstance(value, str) else f"{value:d}"
        parts.append(f"{quoted(name)}:{text}")
    return f'{{"fault":{{{",".join(parts)}}}'.encode("ascii")


class _Clocks:
    """Vector clocks of all steps, made in one pass; keeps only those that a later step needs."""

    __slots__ = ("_clocks", "_index", "_kept", "_last_use", "_names", "_nodes")

    def __init__(self, trace: Trace) -> None:
        self._nodes = [kept[1] for kept in trace.kept]
        names = sorted(dict.fromkeys(self._nodes))
        self._names = [f"{quoted(name)}:" for name in names]
        self._index = {name: at for at, name in enumerate(names)}
        self._clocks = {name: [0] * len(names) for name in names}
        self._kept: dict[int, list[int]] = {}
        self._last_use: dict[int, int] = {}
        for i, (_, node, _, _, _, cause) in enumerate(trace.kept):
            assert -1 <= cause < i, "a step is caused by an earlier one"
            if cause >= 0 and self._nodes[cause] != node:
                self._last_use[cause] = i

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """The clock of step ``i``, as the inside of a JSON object; steps must come in order."""
        clock = self._clocks[node]
        clock[self._index[node]] += 1
        if cause >= 0 and cause in self._kept and self._nodes[cause] != node:
            clock[:] = map(max, clock, self._kept[cause])
            if self._last_use[cause] == i:
                del self._kept[cause]
        if i in self._last_use:
            self._kept[i] = clock.copy()
        return ",".join(
            [f"{name}{count}" for name, count in zip(self._names, clock, strict=True) if count]
        )


def decode_trace(lines: Iterable[bytes], *, cut_short: bool = False) -> Trace:
    """The trace that :func:`encode_trace` wrote; payloads come back as Elided.

    ``cut_short`` also takes a file that ends early, up to its last whole line, as a killed process
    leaves it. Raises TraceError, and nothing else, for whatever is not an intact trace.
    """
    reader = _Reader(lines, cut_short)
    trace = Trace(reader.header, limit=sys.maxsize)
    for body in reader.records():
        value = reader.parsed(body)
        try:
            if "fault" in value:
                trace.fault(_read_fault(value["fault"]))
            else:
                trace.record(*_read_step(value, len(trace)))
        except Misfit as misfit:
            raise reader.error(f"cannot be read: {misfit}") from None
    trace.dropped = reader.dropped
    trace.limit = max(LIMIT, len(trace))
    return trace


def digest_of_file(lines: Iterable[bytes]) -> str:
    """The digest recomputed from the lines of a trace file, each byte of which is checked.

    Raises TraceError, which names line and record, for whatever is not a whole, intact trace.
    """
    reader = _Reader(lines, cut_short=False)
    for _ in reader.records():
        pass
    return reader.digest


class _Reader:
    """Checks the lines of a trace one by one: seals, order, checkpoints and footer."""

    def __init__(self, lines: Iterable[bytes], cut_short: bool) -> None:
        self._lines = iter(lines)
        self._cut_short = cut_short
        self._sums = blake2b(digest_size=16)
        self._crc = 0
        self._line = 1
        self._steps = 0
        self._faults = 0
        self.dropped = 0
        self.digest = ""
        self.header = self._read_header(next(self._lines, b""))

    def error(self, what: str) -> TraceError:
        """The error that the present line ``what``, for example ``is damaged``."""
        return TraceError(
            f"Line {self._line} of the trace (record {self._line - 1}, "
            f"after {self._steps} steps) {what}.",
            self._line,
        )

    def parsed(self, body: bytes) -> dict[str, object]:
        """The JSON object whose text is ``body`` and a closing brace."""
        try:
            value: object = json.loads(body + b"}")
        except (ValueError, RecursionError) as wrong:
            raise self.error(f"is not JSON: {wrong}") from None
        assert isinstance(value, dict), "a record begins with a brace"
        return value

    def records(self) -> Iterator[bytes]:
        """The bodies of steps and faults, checked up to here; after the last, ``digest`` is set."""
        for line in self._lines:
            self._line += 1
            if self.digest:
                raise self.error("follows the footer, which should be the last line")
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
                if body != _checkpoint(self._steps, self._sums.hexdigest()):
                    raise self.error("is a checkpoint that does not fit the records before it")
            elif body.startswith(b'{"end":'):
                self._read_footer(body)
            else:
                raise self.error("is no step, fault, checkpoint or footer")
        if not self.digest:
            if not self._cut_short:
                what = "is the last one and no footer: the file was cut short"
                raise self.error(what)
            self.digest = self._sums.hexdigest()

    def _unsealed(self, line: bytes) -> bytes:
        body = line[:-_SEAL_BYTES]
        sealed, self._crc = _sealed(body, self._crc)
        if sealed != line:
            if not line.endswith(b"\n"):
                raise self.error("ends early: the file was cut short or its end is damaged")
            raise self.error("is damaged: its checksum does not fit")
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
        if schema != SCHEMA:
            raise TraceError(
                f"Line 1 says that the trace has schema {schema!r}; this version reads {SCHEMA}.", 1
            )
        self._unsealed(line)
        world, scenario = value.get("world"), value.get("scenario")
        seed, version = value.get("seed"), value.get("version")
        if not isinstance(world, str) or not isinstance(scenario, str):
            raise self.error("is a header that lacks world or scenario")
        if not isinstance(version, str) or type(seed) is not int:
            raise self.error("is a header that lacks seed or version")
        return Header(world, scenario, seed, version)

    def _read_footer(self, body: bytes) -> None:
        end = self.parsed(body)["end"]
        dropped = end.get("dropped") if isinstance(end, dict) else None
        if type(dropped) is not int or dropped < 0:
            raise self.error("is a footer that does not say how many steps were dropped")
        digest = self._sums.hexdigest()
        counted = {"steps": self._steps, "faults": self._faults, "dropped": dropped}
        if end != {**counted, "digest": digest}:
            raise self.error("is a footer that does not fit the records before it")
        self.dropped = dropped
        self.digest = digest


def _read_step(value: dict[str, object], number: int) -> Kept:
    """One step's line. Misfit when a field is missing or wrong."""
    i, t_us, life, cause = value.get("i"), value.get("t"), value.get("inc"), value.get("cause")
    node, effects = value.get("n"), value.get("fx")
    if i != number:
        raise Misfit(f"its number is {i!r} where {number} comes next")
    if type(t_us) is not int or type(life) is not int or type(cause) is not int:
        raise Misfit('"t", "inc" and "cause" are not all integers')
    if not -1 <= cause < number:
        raise Misfit(f"its cause {cause} is not an earlier step")
    if not isinstance(node, str) or not isinstance(effects, list):
        raise Misfit('"n" is not a string or "fx" not a list')
    event: Event = EVENT.decode(value.get("ev"))  # type: ignore[assignment]
    decoded: list[Effect] = [EFFECT.decode(effect) for effect in effects]  # type: ignore[misc]
    return (t_us, node, life, event, decoded, cause)


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
