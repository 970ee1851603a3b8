"""What ``yak produce`` does: lines in, records out, a sum at the end; must never parse options."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import click

from yak_net.client.batches import Resolved, Sent
from yak_net.client.errors import (
    Delivery,
    MessageSizeTooLargeError,
    NoBrokersAvailable,
    YakError,
)
from yak_net.client.options import BOOTSTRAP_TIMEOUT_MS
from yak_net.client.producer import Producer
from yak_net.client.terminal import Interrupts, Stopped, lines_of, show_progress

FLUSH_MS: Final = 1_000
"""How long an interrupted command waits for what it has sent."""
LONGEST: Final = 1024 * 1024
"""Bytes of the largest batch that brokers take, and so more than any record may have."""


@dataclass(frozen=True)
class ProduceOptions:
    """The command line, parsed. ``messages`` come before ``fd``, which is where lines are read."""

    servers: tuple[str, ...]
    messages: tuple[bytes, ...]
    fd: int
    acks: str | int
    rate: float | None
    separator: bytes | None
    timeout_s: float
    as_json: bool


class Work:
    """One run: the records on their way, and the counts of what became of them."""

    def __init__(self, options: ProduceOptions, interrupts: Interrupts) -> None:
        self.options = options
        self.interrupts = interrupts
        self.producer = Producer(
            options.servers,
            acks=options.acks,
            delivery_timeout_ms=max(1, round(options.timeout_s * 1000)),
            bootstrap_timeout_ms=min(BOOTSTRAP_TIMEOUT_MS, round(options.timeout_s * 1000)),
            max_request_size=LONGEST,
            on_batch=self._on_batch,
        )
        self.complete = False
        self.refused = 0
        self.problem = ""
        self.span: tuple[int, int] | None = None
        self._failed = asyncio.Event()
        self._rows: deque[Sent | YakError] = deque()

    @property
    def not_written(self) -> int:
        """How many records are certainly not in the log."""
        return self.producer.not_written + self.refused

    async def send_all(self) -> None:
        """Send the input, until it ends or a record fails, and wait for the rest."""
        sending = asyncio.create_task(self._send())
        failing = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait((sending, failing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            failing.cancel()
            sending.cancel()
            await asyncio.wait((sending,))
        if not sending.cancelled():
            sending.result()
            self.complete = True
        await self.producer.flush()

    async def _send(self) -> None:
        rate, separator = self.options.rate, self.options.separator
        loop = asyncio.get_running_loop()
        begin, taken = loop.time(), 0
        async for lines in self._input():
            for line in lines:
                if rate is not None:
                    await asyncio.sleep(max(0.0, begin + taken / rate - loop.time()))
                taken += 1
                key: bytes | None = None
                value = line
                if separator is not None and separator in line:
                    key, _, value = line.partition(separator)
                await self._send_one(key, value)

    async def _input(self) -> AsyncIterator[list[bytes]]:
        if self.options.messages:
            yield list(self.options.messages)
            return
        async for lines in lines_of(self.options.fd, LONGEST):
            yield lines

    async def _send_one(self, key: bytes | None, value: bytes) -> None:
        row: Sent | YakError
        try:
            row = await self.producer.send(value, key)
        except MessageSizeTooLargeError as error:
            # The others are not to blame: they go on, and the command fails at its end.
            self.refused += 1
            self.problem = self.problem or str(error)
            row = error
        if self.options.as_json:
            self._rows.append(row)

    def _on_batch(self, batch: Resolved) -> None:
        if batch.error is not None:
            self.problem = self.problem or str(batch.error)
            self._failed.set()
        elif batch.base_offset >= 0:
            last = batch.base_offset + batch.count - 1
            first, before = self.span or (batch.base_offset, last)
            self.span = (min(first, batch.base_offset), max(before, last))
        self.print_rows()

    def print_rows(self) -> None:
        """One object for each record whose fate, and that of all before it, is known."""
        out: list[str] = []
        while self._rows:
            row = self._rows[0]
            if isinstance(row, Sent) and not row.done():
                break
            out.append(json.dumps(_row(self._rows.popleft())))
        if out:
            # The records matter more than who watches.
            with suppress(BrokenPipeError, Stopped):
                self.interrupts.write(("\n".join(out) + "\n").encode())

    def describe(self) -> str:
        """What stands on a terminal meanwhile."""
        return f"{self.producer.confirmed} confirmed, {self.producer.unresolved} under way"

    def failures(self) -> str:
        """What became of the records, when not all are confirmed."""
        count, places = self.producer.confirmed, places_of(self.producer.confirmed, self.span)
        parts = [f"{records_of(count)} confirmed" + (f" ({places})" if places else "")]
        if self.not_written:
            parts.append(f"{self.not_written} not written")
        if self.producer.unknown:
            parts.append(f"{self.producer.unknown} unknown")
        return ", ".join(parts)


async def produce(options: ProduceOptions) -> int:
    """Send all and sum up on standard error; the exit code."""
    with Interrupts() as interrupts:
        work = Work(options, interrupts)
        try:
            if not await interrupts.outlasted_by(work.producer.start()):
                click.echo("Interrupted: nothing was sent.", err=True)
                return interrupts.exit_code
        except NoBrokersAvailable as error:
            click.echo(f"Error: {error}", err=True)
            return 1
        watching = _watch(work)
        try:
            ended = await interrupts.outlasted_by(work.send_all())
        except OSError as error:
            ended = True
            work.problem = f"the input cannot be read: {error.strerror}"
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait((watching,))
            # After an error of our own as well: what was sent may be on its way.
            await work.producer.stop(FLUSH_MS)
            work.print_rows()
        return _sum_up(work, None if ended else interrupts.exit_code)


def _watch(work: Work) -> asyncio.Task[None] | None:
    """A line that moves, where it disturbs nobody who types or reads."""
    typed = not work.options.messages and os.isatty(work.options.fd)
    if typed or work.options.as_json or not sys.stderr.isatty():
        return None
    return asyncio.create_task(show_progress(work.describe))


def _sum_up(work: Work, interrupted: int | None) -> int:
    confirmed = work.producer.confirmed
    if interrupted is not None:
        click.echo(f"Interrupted: {work.failures()}.", err=True)
        return interrupted
    if work.problem:
        rest = "" if work.complete else "; the rest of the input was not sent"
        click.echo(f"Error: {work.failures()}: {work.problem}{rest}", err=True)
        return 1
    if work.options.acks == 0:
        sent = records_of(work.producer.unknown)
        click.echo(f"{sent} sent, and with acks=0 nobody confirms that", err=True)
        return 0
    places = places_of(confirmed, work.span)
    click.echo(f"{records_of(confirmed)} confirmed{f', {places}' if places else ''}", err=True)
    return 0


def records_of(count: int) -> str:
    """So many records, in words."""
    return "1 record" if count == 1 else f"{count} records"


def places_of(count: int, span: tuple[int, int] | None) -> str:
    """Where so many records are, the first and the last at these offsets; empty if unknown."""
    if span is None:
        return ""
    first, last = span
    if first == last:
        return f"offset {first}"
    if last - first + 1 == count:
        return f"offsets {first} to {last}"
    return f"between offsets {first} and {last}"


def _row(row: Sent | YakError) -> dict[str, object]:
    """The object of one record; its keys are always the same."""
    try:
        if isinstance(row, YakError):
            raise row
        found = row.result()
    except YakError as error:
        return {"offset": None, "epoch": None, "outcome": error.outcome, "error": error.name}
    if found.offset < 0:
        return {"offset": None, "epoch": None, "outcome": row.outcome, "error": None}
    place = {"offset": found.offset, "epoch": found.leader_epoch}
    return {**place, "outcome": Delivery.WRITTEN, "error": None}
