"""The command ``yak consume``: read records and print them. The options are parsed in cli.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import click

from yak_net.client.cli_produce import START_ADVICE, count_text, offsets_text
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.errors import NoBrokersAvailable, UnreadableError, YakError
from yak_net.client.options import BOOTSTRAP_TIMEOUT_MS
from yak_net.client.terminal import Interrupts, OutputInterrupted, show_progress
from yak_net.runtime.standard_streams import STDOUT, reader_left, reason

TIMED_OUT: Final = 124
POLL_MS: Final = 1_000
"""Interval at which a command that waits for records looks whether its reader has left."""
Render: TypeAlias = Callable[[ConsumerRecord], bytes]


@dataclass(frozen=True)
class ConsumeOptions:
    """Parsed options. ``begin``: "earliest", "latest", an offset, or -N for the last N records."""

    servers: tuple[str, ...]
    begin: str | int
    count_max: int | None
    stop_at_end: bool
    render: Render
    timeout_s: float | None
    skip_damaged: bool = False


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

    async def read_all(self) -> None:
        """Read to the end that the options define. Raises a YakError, OSError or Stopped."""
        options = self.options
        within_ms = BOOTSTRAP_TIMEOUT_MS
        if options.timeout_s is not None:
            # Less than the timeout, so that "no broker answers" is reported before it expires.
            within_ms = min(within_ms, round(options.timeout_s * 800))
        last = options.begin if isinstance(options.begin, int) and options.begin < 0 else None
        reset = "earliest" if last is not None else options.begin
        async with Consumer(
            options.servers, auto_offset_reset=reset, bootstrap_timeout_ms=within_ms
        ) as consumer:
            self._consumer = consumer
            end = None
            if options.stop_at_end or last is not None:
                end = await consumer.end_offset()
                if last is not None:
                    consumer.seek(max(await consumer.position(), end + last))
            self.started = True
            await self._print_records(consumer, end if options.stop_at_end else None)

    async def _print_records(self, consumer: Consumer, end: int | None) -> None:
        render, remaining = self.options.render, self.options.count_max
        while remaining is None or remaining > 0:
            if end is not None and await consumer.position() >= end:
                return
            try:
                found = await consumer.getmany(timeout_ms=POLL_MS, max_records=remaining)
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
                continue
            for record in found:
                self.check_offset(record.offset)
            self.interrupts.write(b"".join(map(render, found)))
            self.count += len(found)
            remaining = None if remaining is None else remaining - len(found)

    def _skip(self, error: UnreadableError) -> None:
        click.echo(f"Note: skipped {_unread(error)}", err=True)
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
        if sys.stderr.isatty() and not os.isatty(STDOUT):
            progress = asyncio.create_task(show_progress(run.describe))
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


def _print_summary(run: ConsumeRun, interrupted: int | None) -> int:
    options = run.options
    follows = options.count_max is None and not options.stop_at_end
    if interrupted is None or (follows and run.started):
        # Without -n and -e only a signal ends the command, so a signal is success.
        click.echo(run.describe(), err=True)
        return 0
    click.echo(f"Interrupted: {run.describe()}", err=True)
    return interrupted


def value_line(record: ConsumerRecord) -> bytes:
    """Return the value and a newline; an empty line for a null value."""
    return (record.value or b"") + b"\n"


def json_line(record: ConsumerRecord) -> bytes:
    """Return the record as a JSON object, in the format of docs/formats.md."""
    row: dict[str, object] = {
        "offset": record.offset,
        "epoch": record.leader_epoch,
        "timestamp_ms": record.timestamp,
        **_text_or_base64("key", record.key),
        **_text_or_base64("value", record.value),
    }
    if record.headers:
        row["headers"] = [
            {"key": name, **_text_or_base64("value", content)} for name, content in record.headers
        ]
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _text_or_base64(name: str, content: bytes | None) -> dict[str, str | None]:
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(content).decode()}


_FIELDS: Final[dict[str, Render]] = {
    "o": lambda record: b"%d" % record.offset,
    "e": lambda record: b"%d" % record.leader_epoch,
    "T": lambda record: b"%d" % record.timestamp,
    "k": lambda record: record.key or b"",
    "s": lambda record: record.value or b"",
    "%": lambda record: b"%",
}
_ESCAPES: Final = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}


def formatter(form: str) -> Render:
    """Return a function that formats a record with ``form``, as kcat does. Raises ValueError.

    %o offset, %k key, %s value, %e leader epoch, %T timestamp in ms, %% percent sign. No newline
    is added; write it as \\n.
    """
    parts: list[bytes | Render] = []
    letters = iter(form)
    for letter in letters:
        if letter == "%":
            character = next(letters, "")
            if character not in _FIELDS:
                known = ", ".join(f"%{each}" for each in _FIELDS)
                raise ValueError(f"unknown format field %{character}; use one of {known}")
            parts.append(_FIELDS[character])
        elif letter == "\\":
            character = next(letters, "")
            parts.append(_ESCAPES.get(character, f"\\{character}".encode()))
        else:
            parts.append(letter.encode(errors="surrogateescape"))
    return lambda record: b"".join(
        part if isinstance(part, bytes) else part(record) for part in parts
    )
