"""Making the lines of a trace file, one step at a time.

:class:`TraceLines` is the only writer of the format. :mod:`yak_core.trace.reader` uses it for a
complete trace in memory; the recorder of a real broker uses it while the broker runs. Its state is
a checksum, a digest and two counters, so it does not grow with the trace. Opening and writing files
is left to the caller.

The vector clock of a step holds, for each node, the number of its steps that could have caused this
one: earlier steps of the same node and, through ``cause``, steps of the sender of a message.
Influence through the metadata store is not included, because the store is not a node.

With several nodes, the clock of a step must be kept until its last effect has arrived, so the whole
trace must be known (:class:`WholeTraceClocks`). With one node, the clock is the number of its steps
(:class:`OneNodeClocks`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from crc32c import crc32c

from yak_core.contract.effects import Effect
from yak_core.contract.events import Event
from yak_core.encoding.json_codec import codec_of
from yak_core.encoding.json_scalars import Mismatch, quoted
from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault, Header, Step

EVENT: Final = codec_of(Event)
"""Codec of every event, as ``{"Received": {...}}``."""

EFFECT: Final = codec_of(Effect)
"""Codec of every effect, as ``{"Send": {...}}``."""

SCHEMA: Final = 2
KIND: Final = "yak-trace"
CHECKPOINT_STEPS: Final = 1_000
CRC_BYTES: Final = len(b',"crc":"00000000"}\n')
END_BYTES_MAX: Final = 256
"""Maximum size of a checkpoint line or footer in bytes."""


class Clocks(Protocol):
    """The vector clocks of the steps of a trace."""

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """Return the clock of step ``i`` as the members of a JSON object.

        The calls must be in the order of the steps.
        """
        ...


class OneNodeClocks:
    """The clocks of a trace of one node: the number of its steps."""

    __slots__ = ("_node",)

    def __init__(self) -> None:
        self._node: NodeId | None = None

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """Return the clock of step ``i``; see :class:`Clocks`."""
        if self._node is None:
            self._node = node
        assert node == self._node, f"the trace has one node, {self._node}, got a step of {node}"
        assert -1 <= cause < i, f"step {i} has cause {cause}, which is not an earlier step"
        return f"{quoted(node)}:{i + 1}"


class WholeTraceClocks:
    """The clocks of a complete trace; keeps a clock only as long as a later step needs it."""

    __slots__ = ("_clocks", "_index", "_kept", "_last_use", "_names", "_nodes")

    def __init__(self, trace: Iterable[Step]) -> None:
        steps = [(step.node, step.cause) for step in trace]
        self._nodes = [node for node, _ in steps]
        names = sorted(dict.fromkeys(self._nodes))
        self._names = [f"{quoted(name)}:" for name in names]
        self._index = {name: at for at, name in enumerate(names)}
        self._clocks = {name: [0] * len(names) for name in names}
        self._kept: dict[int, list[int]] = {}
        self._last_use: dict[int, int] = {}
        for i, (node, cause) in enumerate(steps):
            assert -1 <= cause < i, f"step {i} has cause {cause}, which is not an earlier step"
            if cause >= 0 and self._nodes[cause] != node:
                self._last_use[cause] = i

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """Return the clock of step ``i``; see :class:`Clocks`."""
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


class TraceLines:
    """Makes the lines of one trace, each with its newline, in the order of the calls.

    ``first`` is the header line. ``steps`` and ``faults`` count the steps and faults so far.
    Without ``clocks``, all steps must be of one node.
    """

    __slots__ = ("_clocks", "_crc", "_hash", "faults", "first", "steps")

    def __init__(self, header: Header, clocks: Clocks | None = None) -> None:
        self._clocks: Clocks = clocks or OneNodeClocks()
        self._crc = 0
        self._hash = blake2b(digest_size=16)
        self.steps = 0
        self.faults = 0
        text = (
            f'{{"schema":{SCHEMA},"kind":{quoted(KIND)},"world":{quoted(header.world)},'
            f'"scenario":{quoted(header.scenario)},"seed":{header.seed:d},'
            f'"version":{quoted(header.version)}'
        )
        self.first = self._with_crc(text.encode("ascii"))

    @property
    def digest(self) -> str:
        """The digest of the steps and faults so far: 32 hexadecimal digits."""
        return self._hash.hexdigest()

    def step(
        self,
        t_us: Micros,
        node: NodeId,
        start: int,
        event: Event,
        effects: Sequence[Effect],
        cause: int,
        room: int = sys.maxsize,
        done: int | None = None,
    ) -> bytes:
        """Return the line of the next step, plus a checkpoint line after every 1,000th step.

        ``done`` is the number of effects that were carried out, None for all. Return empty bytes if
        the lines need more than ``room`` bytes; the caller must not add another step after that.
        Raises Mismatch for an event or effect with a wrong type. In both cases the step is not
        counted.
        """
        i = self.steps
        try:
            ev = EVENT.encode(event)
            fx = ",".join([EFFECT.encode(effect) for effect in effects])
        except Mismatch as mismatch:
            raise mismatch.within(f"step {i} of {node}, ") from None
        done_field = "" if done is None or done == len(effects) else f',"done":{done}'
        body = (
            f'{{"i":{i},"t":{t_us},"n":{quoted(node)},"start":{start},"cause":{cause},'
            f'"ev":{ev},"fx":[{fx}]{done_field},"vc":{{{self._clocks.advance(i, node, cause)}}}'
        ).encode("ascii")
        at_checkpoint = (i + 1) % CHECKPOINT_STEPS == 0
        if len(body) + CRC_BYTES + (END_BYTES_MAX if at_checkpoint else 0) > room:
            return b""
        self.steps += 1
        line = self._digested(body)
        if at_checkpoint:
            line += self._with_crc(checkpoint_body(self.steps, self.digest))
        return line

    def fault(self, fault: Fault) -> bytes:
        """Return the line of a fault that comes after the steps so far."""
        self.faults += 1
        return self._digested(_fault_body(fault))

    def footer(self, dropped: int) -> bytes:
        """Return the last line; ``dropped`` is the number of later steps not in the trace."""
        counts = f'"steps":{self.steps},"faults":{self.faults},"dropped":{dropped}'
        return self._with_crc(f'{{"end":{{{counts},"digest":"{self.digest}"}}'.encode("ascii"))

    def _digested(self, body: bytes) -> bytes:
        self._hash.update(body + b"\n")
        return self._with_crc(body)

    def _with_crc(self, body: bytes) -> bytes:
        line, self._crc = with_crc(body, self._crc)
        return line


def with_crc(body: bytes, crc: int) -> tuple[bytes, int]:
    """Return the line of ``body``, an object without its closing brace, and the next CRC."""
    crc = crc32c(body, crc)
    return (b'%b,"crc":"%08x"}\n' % (body, crc), crc)


def checkpoint_body(steps: int, digest: str) -> bytes:
    """Return a checkpoint without its CRC and closing brace."""
    return f'{{"checkpoint":{{"steps":{steps},"digest":"{digest}"}}'.encode("ascii")


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
