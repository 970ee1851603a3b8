"""Changed copies and parts of recorded traces, for tests of replay and of trace files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

from crc32c import crc32c

from yak_core.ids import NodeId
from yak_core.trace.recorder import Step, Trace
from yak_sim import Script, World, run_scenario, scenario, seconds

Edit = Callable[[dict[str, Any]], None]


@scenario(seed=3)
def short_story(world: World) -> Script:
    """Produce a few records and read them."""
    yield world.until_ready()
    world.producer(values=4, rate_per_s=100)
    consumer = world.consumer()
    yield world.until(
        lambda: len(consumer.reads) >= 4, within=seconds(10), what="every record was read"
    )


@cache
def short_run() -> Trace:
    """Return the trace of a short run: every kind of node, about two hundred steps."""
    result = run_scenario(short_story)
    assert result.valid is True, result.reason
    return result.trace


def edited(lines: list[bytes], i: int, edit: Edit) -> list[bytes]:
    """Return the lines with step ``i`` changed and all checksums valid."""
    crc = 0
    sums = blake2b(digest_size=16)
    out = []
    for line in lines:
        body = line.rpartition(b',"crc":')[0]
        value = json.loads(body + b"}")
        if value.get("i") == i:
            edit(value)
            body = json.dumps(value, separators=(",", ":")).encode()[:-1]
        kind = next(iter(value))
        if kind in ("i", "fault"):
            sums.update(body + b"\n")
        elif kind in ("checkpoint", "end"):
            value[kind]["digest"] = sums.hexdigest()
            body = json.dumps(value, separators=(",", ":")).encode()
            body = body.rpartition(b"}")[0]
        crc = crc32c(body, crc)
        out.append(body + b',"crc":"%08x"}\n' % crc)
    return out


def alone(trace: Trace, node: NodeId, start: int = 1) -> Iterator[Step]:
    """Return the steps of one start as in its own process, without causes in other nodes."""
    numbers: dict[int, int] = {}
    for step in trace:
        if (step.node, step.start) == (node, start):
            cause = numbers.get(step.cause, -1)
            numbers[step.i] = len(numbers)
            yield step._replace(i=numbers[step.i], cause=cause)
