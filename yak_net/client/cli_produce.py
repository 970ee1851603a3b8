"""The command ``yak produce``: send lines as records. The options are parsed in cli.py."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import click

from yak_core.batch import Headers
from yak_net.client.batches import Resolved, Sent
from yak_net.client.errors import (
    Delivery,
    MessageSizeTooLargeError,
    NoBrokersAvailable,
    YakError,
)
from yak_net.client.numbered import values
from yak_net.client.options import BOOTSTRAP_TIMEOUT_MS
from yak_net.client.producer import Producer
from yak_net.client.terminal import (
    Amount,
    Interrupts,
    LongLine,
    OutputInterrupted,
    lines_of,
    show_progress,
)
from yak_net.runtime.standard_streams import reason

FLUSH_MS: Final = 1_000
"""Time limit, in ms, for the records in flight when the command ends."""
START_ADVICE: Final = (
    "start a cluster with yak cluster up, or give the address of a broker with --bootstrap-servers"
)
RECORD_BYTES_MAX: Final = 1024 * 1024
"""Size in bytes of the largest batch that brokers accept; each record is smaller."""


@dataclass(frozen=True)
class ProduceOptions:
    """Parsed options. If ``messages`` is not empty, the file descriptor ``fd`` is not read.

    With ``count``, that many values of the run ``run_name`` are made, of ``size`` bytes or more.

    Keys and values equal to ``null`` are sent as null. ``key`` is the key of records without a key
    of their own. ``client``: arguments of the Producer.
    """

    servers: tuple[str, ...]
    messages: tuple[bytes, ...]
    fd: int
    acks: str | int
    rate: float | None
    separator: bytes | None
    timeout_s: float
    as_json: bool
    null: bytes | None = None
    key: bytes | None = None
    headers: Headers = ()
    one_by_one: bool = False
    quiet: bool = False
    client: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = None
    size: int = 0
    run_name: str = ""

    @property
    def reads_input(self) -> bool:
        """Whether the records are lines of ``fd``."""
        return not self.messages and self.count is None


class ProduceRun:
    """One run of the command: the records in flight, and the counts of the outcomes."""

    def __init__(self, options: ProduceOptions, interrupts: Interrupts) -> None:
        self.options = options
        self.interrupts = interrupts
        self.producer = Producer(
            options.servers,
            acks=options.acks,
            delivery_timeout_ms=max(1, round(options.timeout_s * 1000)),
            bootstrap_timeout_ms=min(BOOTSTRAP_TIMEOUT_MS, round(options.timeout_s * 1000)),
            max_request_size=RECORD_BYTES_MAX,
            on_batch=self._on_batch,
            **options.client,
        )
        self.complete = False
        self.output_failed = False
        self.too_large = 0
        self.problem = ""
        self.offsets: tuple[int, int] | None = None
        self._read_bytes = 0
        self._input_bytes = _size_of(options.fd) if options.reads_input else None
        self._failed = asyncio.Event()
        self._rows: deque[Sent | YakError] = deque()

    @property
    def not_written(self) -> int:
        """Number of records with the outcome NOT_WRITTEN."""
        return self.producer.not_written + self.too_large

    async def send_all(self) -> None:
        """Send the input until it ends or a record fails; then wait for the records in flight."""
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
        started_at, sent_count = loop.time(), 0
        async for lines in self._input():
            for line in lines:
                if rate is not None:
                    await asyncio.sleep(max(0.0, started_at + sent_count / rate - loop.time()))
                sent_count += 1
                if isinstance(line, LongLine):
                    self._refuse_line(sent_count, f"{line.size} bytes")
                    continue
                key = self.options.key
                value = line
                if separator is not None and separator in line:
                    key, _, value = line.partition(separator)
                await self._send_one(sent_count, key, value)

    async def _input(self) -> AsyncIterator[list[bytes] | list[bytes | LongLine]]:
        options = self.options
        if options.messages:
            yield list(options.messages)
            return
        if options.count is not None:
            for made in values(options.run_name, options.count, options.size):
                yield made
            return

        def on_bytes(count: int) -> None:
            self._read_bytes += count

        async for lines in lines_of(options.fd, RECORD_BYTES_MAX, on_bytes):
            yield lines

    async def _send_one(self, number: int, key: bytes | None, value: bytes) -> None:
        try:
            null, headers = self.options.null, self.options.headers
            sent = await self.producer.send(
                None if value == null else value, None if key == null else key, headers
            )
            if self.options.one_by_one:
                with suppress(YakError):  # reported by _on_batch
                    await sent
        except MessageSizeTooLargeError:
            size = len(value) + (0 if key is None else len(key))
            self._refuse_line(number, f"{size} bytes and the fields of a record")
            return
        if self.options.as_json:
            self._rows.append(sent)

    def _refuse_line(self, number: int, size: str) -> None:
        """Count a line that is too large; the others are sent, and the exit code reports it."""
        what = "message" if self.options.messages else "line"
        error = MessageSizeTooLargeError(
            f"{what} {number} is too large: {size}, at most {RECORD_BYTES_MAX} fit into a batch; "
            "split it"
        )
        self.too_large += 1
        self.problem = self.problem or str(error)
        if self.options.as_json:
            self._rows.append(error)

    def _on_batch(self, batch: Resolved) -> None:
        if batch.error is not None:
            self.problem = self.problem or str(batch.error)
            self._failed.set()
        elif batch.base_offset >= 0:
            last = batch.base_offset + batch.count - 1
            first, before = self.offsets or (batch.base_offset, last)
            self.offsets = (min(first, batch.base_offset), max(before, last))
        self.print_rows()

    def print_rows(self) -> None:
        """Print one JSON object for each resolved record, up to the first unresolved one."""
        out: list[str] = []
        while self._rows:
            row = self._rows[0]
            if isinstance(row, Sent) and not row.done():
                break
            out.append(json.dumps(_row(self._rows.popleft())))
        if out and not self.output_failed:
            # Delivery of the records continues when the output cannot be written.
            try:
                self.interrupts.write(("\n".join(out) + "\n").encode())
            except OutputInterrupted:
                return
            except OSError as error:
                self.output_failed = True
                if not isinstance(error, BrokenPipeError):
                    click.echo(f"Note: cannot write the output: {reason(error)}", err=True)

    def describe(self) -> str:
        """Return the text of the progress line."""
        return f"{self.producer.confirmed} confirmed, {self.producer.unresolved} in flight"

    def amount(self) -> Amount:
        """Return how much is done: records, or bytes of a file."""
        if self._input_bytes is not None:
            return Amount(self._read_bytes, self._input_bytes, "bytes")
        given = self.options.count if not self.options.messages else len(self.options.messages)
        return Amount(self.producer.confirmed, given)

    def summary(self) -> str:
        """Return the number of records of each outcome as text."""
        count = self.producer.confirmed
        offsets = offsets_text(count, self.offsets)
        parts = [f"{count_text(count)} confirmed" + (f" ({offsets})" if offsets else "")]
        if self.not_written:
            parts.append(f"{self.not_written} not written")
        if self.producer.unknown:
            parts.append(f"{self.producer.unknown} unknown")
        return ", ".join(parts)


async def produce(options: ProduceOptions) -> int:
    """Send the records, then print a summary on standard error; return the exit code."""
    with Interrupts() as interrupts:
        run = ProduceRun(options, interrupts)
        try:
            if not await interrupts.run_until_signal(run.producer.start()):
                click.echo("Interrupted: nothing was sent", err=True)
                return interrupts.exit_code
        except NoBrokersAvailable as error:
            message = f"{error.reason}; nothing was written"
            click.echo(f"Error: {message}; {error.remedy or START_ADVICE}", err=True)
            return 1
        typed = options.reads_input and os.isatty(options.fd)
        if typed and not options.quiet and sys.stderr.isatty():
            click.echo("each line is a record; Ctrl-D ends the input", err=True)
        progress = _start_progress(run)
        try:
            ended = await interrupts.run_until_signal(run.send_all())
        except OSError as error:
            ended = True
            run.problem = f"cannot read the input: {reason(error)}"
        finally:
            if progress is not None:
                progress.cancel()
                await asyncio.wait((progress,))
            # Also after an exception: records may be in flight.
            await run.producer.stop(FLUSH_MS)
            run.print_rows()
        return _print_summary(run, None if ended else interrupts.exit_code)


def _start_progress(run: ProduceRun) -> asyncio.Task[None] | None:
    """Show progress, unless the input is typed, or the output is JSON or not a terminal."""
    typed = run.options.reads_input and os.isatty(run.options.fd)
    if typed or run.options.as_json or not sys.stderr.isatty():
        return None
    return asyncio.create_task(show_progress(run.describe, run.amount))


def _size_of(fd: int) -> int | None:
    """Return the bytes that are left in a regular file; None for anything else."""
    try:
        found = os.fstat(fd)
        return found.st_size - os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(found.st_mode) else None
    except OSError:
        return None


def _print_summary(run: ProduceRun, interrupted: int | None) -> int:
    confirmed = run.producer.confirmed
    if interrupted is not None:
        click.echo(f"Interrupted: {run.summary()}", err=True)
        return interrupted
    if run.problem:
        rest = "" if run.complete else "; the rest of the input was not sent"
        click.echo(f"Error: {run.summary()}: {run.problem}{rest}", err=True)
        return 1
    if run.options.acks == 0:
        sent = count_text(run.producer.unknown)
        click.echo(f"{sent} sent; with acks=0 no record is confirmed", err=True)
        return 0
    offsets = offsets_text(confirmed, run.offsets)
    if not run.options.quiet:
        confirmation = f"{count_text(confirmed)} confirmed{f', {offsets}' if offsets else ''}"
        run_name = f", run {run.options.run_name}" if run.options.count is not None else ""
        click.echo(f"{confirmation}{run_name}", err=True)
    return 0


def count_text(count: int) -> str:
    """Return "1 record" or "N records"."""
    return "1 record" if count == 1 else f"{count} records"


def offsets_text(count: int, offsets: tuple[int, int] | None) -> str:
    """Return the offsets (first, last) of ``count`` records as text; "" if they are None."""
    if offsets is None:
        return ""
    first, last = offsets
    if first == last:
        return f"offset {first}"
    if last - first + 1 == count:
        return f"offsets {first} to {last}"
    return f"between offsets {first} and {last}"


def _row(row: Sent | YakError) -> dict[str, object]:
    """Return the JSON object of one record; the keys are the same for each outcome."""
    try:
        if isinstance(row, YakError):
            raise row
        found = row.result()
    except YakError as error:
        return {"offset": None, "epoch": None, "outcome": error.outcome, "error": error.name}
    if found.offset < 0:
        return {"offset": None, "epoch": None, "outcome": row.outcome, "error": None}
    position = {"offset": found.offset, "epoch": found.leader_epoch}
    return {**position, "outcome": Delivery.WRITTEN, "error": None}
