"""The command ``yak consume``: read records and print them. The options are parsed in cli.py."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from yak_net.client.cli_format import Render
from yak_net.client.cli_produce import START_ADVICE, count_text, offsets_text
from yak_net.client.consumer import Consumer
from yak_net.client.errors import (
    NoBrokersAvailable,
    OffsetOutOfRangeError,
    UnreadableError,
    YakError,
)
from yak_net.client.offset_lookup import offset_at_time
from yak_net.client.options import BOOTSTRAP_TIMEOUT_MS
from yak_net.client.terminal import Amount, Interrupts, OutputInterrupted, show_progress
from yak_net.client.verify import Verifier
from yak_net.runtime.standard_streams import STDOUT, reader_left, reason

UNKNOWN: Final = 3
TIMED_OUT: Final = 124
POLL_MS: Final = 1_000
"""Interval at which a command that waits for records looks whether its reader has left."""


@dataclass(frozen=True)
class ConsumeOptions:
    """Parsed options. ``begin``: "earliest", "latest", an offset, -N for the last N records, or "@"
    and a time in ms for the first record with that time or a later one.

    ``idle_s``: end if no record arrives for so long. ``client``: arguments of the Consumer.
    ``verify``: print no record but a verdict, as JSON with ``as_json``.
    """

    servers: tuple[str, ...]
    begin: str | int
    count_max: int | None
    stop_at_end: bool
    render: Render
    timeout_s: float | None
    idle_s: float | None = None
    quiet: bool = False
    client: Mapping[str, Any] = field(default_factory=dict)
    skip_damaged: bool = False
    verify: bool = False
    as_json: bool = False


class ConsumeRun:
    """One run of the command: its progress, and whether the offsets have gaps or go back."""

    def __init__(self, options: ConsumeOptions, interrupts: Interrupts) -> None:
        self.options = options
        self.interrupts = interrupts
        self.started = False
        self.count = 0
        self.skipped = 0
        self.offsets: tuple[int, int] | None = None
        self._consumer: Consumer | None = None
        self._gaps = False
        self._went_back = False
        self._remaining: int | None = None
        self.verifier: Verifier | None = None
        if options.verify:
            note = "Note: {}".format
            self.verifier = Verifier(
                lambda what: click.echo(note(what), err=True),
                from_start=options.begin in ("earliest", 0),
            )

    async def read_all(self) -> None:
        """Read to the end that the options define. Raises a YakError, OSError or Stopped."""
        options = self.options
        within_ms = BOOTSTRAP_TIMEOUT_MS
        if options.timeout_s is not None:
            # Less than the timeout, so that "no broker answers" is reported before it expires.
            within_ms = min(within_ms, round(options.timeout_s * 800))
        begin = options.begin
        if isinstance(begin, str) and begin.startswith("@"):
            limits = {"bootstrap_timeout_ms": within_ms, **options.client}
            found = await offset_at_time(options.servers, int(begin[1:]), **limits)
            begin = found.latest if found.offset is None else found.offset
        last = options.begin if isinstance(options.begin, int) and options.begin < 0 else None
        reset = "earliest" if last is not None else begin
        async with Consumer(
            options.servers,
            auto_offset_reset=reset,
            bootstrap_timeout_ms=within_ms,
            **options.client,
        ) as consumer:
            self._consumer = consumer
            end = None
            if options.stop_at_end or last is not None:
                end = await consumer.end_offset()
                if last is not None:
                    consumer.seek(max(await consumer.position(), end + last))
                await self._check_begin(consumer, end)
            self.started = True
            if options.stop_at_end and end is not None:
                self._remaining = max(0, end - await consumer.position())
            self._print_hint()
            await self._print_records(consumer, end if options.stop_at_end else None)

    async def _check_begin(self, consumer: Consumer, end: int) -> None:
        """Raise OffsetOutOfRangeError for a start after the end, where no record is ever read."""
        begin = self.options.begin
        if isinstance(begin, int) and begin > end:
            first = await consumer.beginning_offset()
            raise OffsetOutOfRangeError(
                f"offset {begin} is not in the log [{first}, {end}]; {OffsetOutOfRangeError.advice}"
            )

    def _print_hint(self) -> None:
        """Say on a terminal why nothing is printed."""
        waits = self.options.begin == "latest" and not self.options.stop_at_end
        if waits and not self.options.quiet and sys.stderr.isatty() and os.isatty(STDOUT):
            click.echo(
                "waiting for new records; --from-beginning prints those in the log, Ctrl-C ends",
                err=True,
            )

    async def _print_records(self, consumer: Consumer, end: int | None) -> None:
        render, remaining = self.options.render, self.options.count_max
        idle_s = self.options.idle_s
        poll_ms = POLL_MS if idle_s is None else min(POLL_MS, max(1, round(idle_s * 1000)))
        loop = asyncio.get_running_loop()
        last_at = loop.time()
        while remaining is None or remaining > 0:
            if end is not None and await consumer.position() >= end:
                return
            try:
                found = await consumer.getmany(timeout_ms=poll_ms, max_records=remaining)
            except UnreadableError as error:
                if end is not None and error.offset >= end:
                    return
                if not self.options.skip_damaged:
                    raise
                self._skip(error)
                continue
            if end is not None:
                found = [record for record in found if record.offset < end]
            if not found:
                if reader_left(STDOUT):
                    raise BrokenPipeError
                if idle_s is not None and loop.time() - last_at >= idle_s:
                    return
                continue
            last_at = loop.time()
            if self.verifier is not None:
                for record in found:
                    self.verifier.see(record)
            else:
                for record in found:
                    self.check_offset(record.offset)
                self.interrupts.write(b"".join(map(render, found)))
            self.count += len(found)
            remaining = None if remaining is None else remaining - len(found)

    def _skip(self, error: UnreadableError) -> None:
        click.echo(f"Note: skipped {_unread(error)}", err=True)
        if self.verifier is not None:
            self.verifier.skip(error.offset, error.next_offset)
        last = error.next_offset - 1
        self.skipped += error.next_offset - error.offset
        # Part of the range, so that the skipped offsets are not reported as a gap.
        self.offsets = (error.offset if self.offsets is None else self.offsets[0], last)

    def check_offset(self, offset: int) -> None:
        """Record the offset of the next record; report the first gap and the first step back."""
        if self.offsets is None:
            self.offsets = (offset, offset)
            return
        first, before = self.offsets
        self.offsets = (first, offset)
        if offset > before + 1 and not self._gaps:
            self._gaps = True
            click.echo(f"Note: gap in the offsets: {before}, then {offset}", err=True)
        elif offset <= before and not self._went_back:
            self._went_back = True
            click.echo(f"Note: offsets went back: {before}, then {offset}", err=True)

    def amount(self) -> Amount:
        """Return how many records were read, and how many will be, if that is known."""
        limits = [each for each in (self._remaining, self.options.count_max) if each is not None]
        return Amount(self.count + self.skipped, min(limits, default=None))

    def describe_timeout(self) -> str:
        """Return :meth:`describe` and the brokers that cannot be reached."""
        failures = "" if self._consumer is None else self._consumer.connection_failures()
        return f"{self.describe()}: cannot connect to {failures}" if failures else self.describe()

    def describe(self) -> str:
        """Return the number of records read, and their offsets, as text."""
        count = self.count + self.skipped
        offsets = offsets_text(count, self.offsets if count else None)
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{count_text(self.count)} read{f', {offsets}' if offsets else ''}{skipped}"


async def consume(options: ConsumeOptions) -> int:
    """Print records, then a summary on standard error; return the exit code."""
    with Interrupts() as interrupts:
        run = ConsumeRun(options, interrupts)
        progress = None
        if sys.stderr.isatty() and (options.verify or not os.isatty(STDOUT)):
            progress = asyncio.create_task(show_progress(run.describe, run.amount))
        try:
            async with asyncio.timeout(options.timeout_s):
                ended = await interrupts.run_until_signal(run.read_all())
        except TimeoutError:
            message = f"Error: timeout after {options.timeout_s:g} s: {run.describe_timeout()}"
            click.echo(f"{message}; use a longer --timeout", err=True)
            return TIMED_OUT
        except NoBrokersAvailable as error:
            click.echo(f"Error: {error.reason}; {error.remedy or START_ADVICE}", err=True)
            return 1
        except UnreadableError as error:
            message = f"Error: {run.describe()}: cannot read {_unread(error)}"
            advice = f"skip them with --skip-damaged, or start at --offset {error.next_offset}"
            click.echo(f"{message}; {advice}", err=True)
            return 1
        except YakError as error:
            prefix = f"{run.describe()}: " if run.started else ""
            click.echo(f"Error: {prefix}{error}", err=True)
            return 1
        except BrokenPipeError:
            return 0  # the reader of the pipe, such as head, needs no more
        except OSError as error:
            message = f"Error: {run.describe()}: cannot write the output: {reason(error)}"
            click.echo(message, err=True)
            return 1
        except OutputInterrupted:
            ended = False
        finally:
            if progress is not None:
                progress.cancel()
                await asyncio.wait((progress,))
        return _print_summary(run, None if ended else interrupts.exit_code)


def _unread(error: UnreadableError) -> str:
    """Return the offsets of an unreadable batch, and the reason."""
    last = error.next_offset - 1
    place = f"offset {last}" if error.offset == last else f"offsets {error.offset} to {last}"
    return f"{place}: {str(error).partition('; ')[0]}"


def _print_verdict(run: ConsumeRun, verifier: Verifier) -> int:
    """Print what was verified; return the exit code of the verdict."""
    if run.options.as_json:
        click.echo(json.dumps(verifier.as_json()))
    else:
        click.echo("\n".join(verifier.summary()))
    return {True: 0, False: 1, None: UNKNOWN}[verifier.valid]


def _print_summary(run: ConsumeRun, interrupted: int | None) -> int:
    options = run.options
    if run.verifier is not None and run.started:
        verdict = _print_verdict(run, run.verifier)
        ends_by_signal = options.count_max is None and not options.stop_at_end
        return verdict if verdict or interrupted is None or ends_by_signal else interrupted
    follows = options.count_max is None and not options.stop_at_end
    if interrupted is None or (follows and run.started):
        # Without -n and -e only a signal ends the command, so a signal is success.
        if not options.quiet:
            click.echo(run.describe(), err=True)
        return 0
    click.echo(f"Interrupted: {run.describe()}", err=True)
    return interrupted
