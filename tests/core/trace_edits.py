"""Traces changed after they were recorded, and parts of them; must never look for what changed."""

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
    """A few records, confirmed and read."""
    yield from world.until_ready()
    world.producer(values=4, rate_per_s=100)
    consumer = world.consumer()
    yield world.until(
        lambda: len(consumer.reads) >= 4, within=seconds(10), what="every record was read"
    )


@cache
def short_run() -> Trace:
    """The trace of the short story: every kind of node, some two hundred steps."""
    result = run_scenario(short_story)
    assert result.valid is True, result.reason
    return result.trace


def edited(lines: list[bytes], i: int, edit: Edit) -> list[bytes]:
    """The lines with step ``i`` changed, sealed and summed anew: only its contents are wrong."""
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
    """The steps of one start as its own process would record them: other nodes are no causes."""
    numbers: dict[int, int] = {}
    for step in trace:
        if (step.node, step.start) == (node, start):
            cause = numbers.get(step.cause, -1)
            numbers[step.i] = len(numbers)
            yield step._replace(i=numbers[step.i], cause=cause)
