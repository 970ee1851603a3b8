"""The lines of a trace file, made one by one as steps happen; must never open a file itself.

:class:`TraceLines` is the one writer of the format: :mod:`yak_core.trace.reader` has it write a
trace that is over, a real broker's recorder has it write while the broker runs. It keeps a
checksum, a digest and two counters, whatever the length of the trace.

A vector clock counts, for each node, its steps that could have caused this one: the node's own and,
through ``cause``, those of whoever sent what arrived. What nodes learn from one another through the
metadata store is not in it, because the store is not a node. Which clocks are still needed depends
on the causes of later steps, so a trace of several nodes has to be over (:class:`Foreseen`); the
clock of a single node is the number of its steps (:class:`OneNode`).
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
from yak_core.encoding.json_scalars import Misfit, quoted
from yak_core.ids import Micros, NodeId
from yak_core.trace.recorder import Fault, Header, Step

EVENT: Final = codec_of(Event)
"""Codec of every event, as ``{"Received": {...}}``."""

EFFECT: Final = codec_of(Effect)
"""Codec of every effect, as ``{"Send": {...}}``."""

SCHEMA: Final = 2
KIND: Final = "yak-trace"
CHECKPOINT_STEPS: Final = 1_000
SEAL_BYTES: Final = len(b',"crc":"00000000"}\n')
END_BYTES_MAX: Final = 256
"""A checkpoint, as a footer, has no more bytes than this."""


class Clocks(Protocol):
    """The vector clocks of the steps of a trace."""

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """The clock of step ``i``, as the inside of a JSON object; steps must come in order."""
        ...


class OneNode:
    """The clocks of a trace that has one node: how many steps it has taken."""

    __slots__ = ("_node",)

    def __init__(self) -> None:
        self._node: NodeId | None = None

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """See :class:`Clocks`."""
        if self._node is None:
            self._node = node
        assert node == self._node, "a trace that is written as it happens has one node"
        assert -1 <= cause < i, "a step is caused by an earlier one"
        return f"{quoted(node)}:{i + 1}"


class Foreseen:
    """The clocks of steps that are all known; keeps only those that a later step needs."""

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
            assert -1 <= cause < i, "a step is caused by an earlier one"
            if cause >= 0 and self._nodes[cause] != node:
                self._last_use[cause] = i

    def advance(self, i: int, node: NodeId, cause: int) -> str:
        """See :class:`Clocks`."""
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
    """Makes the lines of one trace, each with its newline; the order of the calls is theirs.

    ``first`` is the header's line. ``steps`` and ``faults`` count what was written; ``digest`` is
    that of the trace up to here. Without ``clocks``, the trace may have one node only.
    """

    __slots__ = ("_clocks", "_crc", "_sums", "faults", "first", "steps")

    def __init__(self, header: Header, clocks: Clocks | None = None) -> None:
        self._clocks: Clocks = clocks or OneNode()
        self._crc = 0
        self._sums = blake2b(digest_size=16)
        self.steps = 0
        self.faults = 0
        text = (
            f'{{"schema":{SCHEMA},"kind":{quoted(KIND)},"world":{quoted(header.world)},'
            f'"scenario":{quoted(header.scenario)},"seed":{header.seed:d},'
            f'"version":{quoted(header.version)}'
        )
        self.first = self._sealed(text.encode("ascii"))

    @property
    def digest(self) -> str:
        """The digest of the steps and faults so far: 32 hexadecimal digits."""
        return self._sums.hexdigest()

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
        """The line of the next step and, behind each thousandth, the line of a checkpoint.

        ``done`` is how many effects were carried out, None for all. Empty, and no step, when the
        line would have more than ``room`` bytes; there must then be no further step. Raises Misfit
        for a value that is no message; it is then no step, either.
        """
        i = self.steps
        try:
            ev = EVENT.encode(event)
            fx = ",".join([EFFECT.encode(effect) for effect in effects])
        except Misfit as misfit:
            raise misfit.inside(f"step {i} of {node}, ") from None
        cut = "" if done is None or done == len(effects) else f',"done":{done}'
        body = (
            f'{{"i":{i},"t":{t_us},"n":{quoted(node)},"start":{start},"cause":{cause},'
            f'"ev":{ev},"fx":[{fx}]{cut},"vc":{{{self._clocks.advance(i, node, cause)}}}'
        ).encode("ascii")
        at_checkpoint = (i + 1) % CHECKPOINT_STEPS == 0
        if len(body) + SEAL_BYTES + (END_BYTES_MAX if at_checkpoint else 0) > room:
            return b""
        self.steps += 1
        line = self._recorded(body)
        if at_checkpoint:
            line += self._sealed(checkpoint_body(self.steps, self.digest))
        return line

    def fault(self, fault: Fault) -> bytes:
        """The line of a fault that comes behind the steps so far."""
        self.faults += 1
        return self._recorded(_fault_body(fault))

    def footer(self, dropped: int) -> bytes:
        """The last line; ``dropped`` steps came behind those that are in the trace."""
        counts = f'"steps":{self.steps},"faults":{self.faults},"dropped":{dropped}'
        return self._sealed(f'{{"end":{{{counts},"digest":"{self.digest}"}}'.encode("ascii"))

    def _recorded(self, body: bytes) -> bytes:
        self._sums.update(body + b"\n")
        return self._sealed(body)

    def _sealed(self, body: bytes) -> bytes:
        line, self._crc = sealed(body, self._crc)
        return line


def sealed(body: bytes, crc: int) -> tuple[bytes, int]:
    """The line of ``body``, an object without its closing brace, and the chain's next CRC."""
    crc = crc32c(body, crc)
    return (b'%b,"crc":"%08x"}\n' % (body, crc), crc)


def checkpoint_body(steps: int, digest: str) -> bytes:
    """A checkpoint, without its seal."""
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
