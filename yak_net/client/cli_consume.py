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

from yak_net.client.cli_produce import places_of, records_of
from yak_net.client.consumer import Consumer, ConsumerRecord
from yak_net.client.errors import YakError
from yak_net.client.options import BOOTSTRAP_TIMEOUT_MS
from yak_net.client.terminal import STDOUT, Interrupts, Stopped, show_progress

TIMED_OUT: Final = 124
POLL_MS: Final = 60_000
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


class Reading:
    """One run of the command: its progress, and whether the offsets have gaps or go back."""

    def __init__(self, options: ConsumeOptions, interrupts: Interrupts) -> None:
        self.options = options
        self.interrupts = interrupts
        self.started = False
        self.count = 0
        self.span: tuple[int, int] | None = None
        self._gaps = False
        self._steps_back = False

    async def run(self) -> None:
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
            end = None
            if options.stop_at_end or last is not None:
                end = await consumer.end_offset()
                if last is not None:
                    consumer.seek(max(await consumer.position(), end + last))
            self.started = True
            await self._copy(consumer, end if options.stop_at_end else None)

    async def _copy(self, consumer: Consumer, end: int | None) -> None:
        render, left = self.options.render, self.options.count_max
        while left is None or left > 0:
            if end is not None and await consumer.position() >= end:
                return
            found = await consumer.getmany(timeout_ms=POLL_MS, max_records=left)
            if end is not None:
                found = [record for record in found if record.offset < end]
            if not found:
                continue
            for record in found:
                self.note(record.offset)
            self.interrupts.write(b"".join(map(render, found)))
            self.count += len(found)
            left = None if left is None else left - len(found)

    def note(self, offset: int) -> None:
        """Record the offset of the next record; report the first gap and the first step back."""
        if self.span is None:
            self.span = (offset, offset)
            return
        first, before = self.span
        self.span = (first, offset)
        if offset > before + 1 and not self._gaps:
            self._gaps = True
            click.echo(f"Note: gap in the offsets: {before}, then {offset}", err=True)
        elif offset <= before and not self._steps_back:
            self._steps_back = True
            click.echo(f"Note: offsets went back: {before}, then {offset}", err=True)

    def describe(self) -> str:
        """Return the number of records read, and their offsets, as text."""
        places = places_of(self.count, self.span)
        return f"{records_of(self.count)} read{f', {places}' if places else ''}"


async def consume(options: ConsumeOptions) -> int:
    """Print records, then a summary on standard error; return the exit code."""
    with Interrupts() as interrupts:
        reading = Reading(options, interrupts)
        watching = None
        if sys.stderr.isatty() and not os.isatty(STDOUT):
            watching = asyncio.create_task(show_progress(reading.describe))
        try:
            async with asyncio.timeout(options.timeout_s):
                ended = await interrupts.outlasted_by(reading.run())
        except TimeoutError:
            what = f"Error: timeout after {options.timeout_s:g} s: {reading.describe()}"
            click.echo(f"{what}; use a longer --timeout", err=True)
            return TIMED_OUT
        except YakError as error:
            come = f"{reading.describe()}: " if reading.started else ""
            click.echo(f"Error: {come}{error}", err=True)
            return 1
        except BrokenPipeError:
            return 0  # the reader of the pipe, such as head, needs no more
        except OSError as error:
            what = f"Error: {reading.describe()}: cannot write the output: {error.strerror}"
            click.echo(what, err=True)
            return 1
        except Stopped:
            ended = False
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait((watching,))
        return _sum_up(reading, None if ended else interrupts.exit_code)


def _sum_up(reading: Reading, interrupted: int | None) -> int:
    options = reading.options
    follows = options.count_max is None and not options.stop_at_end
    if interrupted is None or (follows and reading.started):
        # Without -n and -e only a signal ends the command, so a signal is success.
        click.echo(reading.describe(), err=True)
        return 0
    click.echo(f"Interrupted: {reading.describe()}.", err=True)
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
            word = next(letters, "")
            if word not in _FIELDS:
                known = ", ".join(f"%{each}" for each in _FIELDS)
                raise ValueError(f"unknown format field %{word}; use one of {known}")
            parts.append(_FIELDS[word])
        elif letter == "\\":
            word = next(letters, "")
            parts.append(_ESCAPES.get(word, f"\\{word}".encode()))
        else:
            parts.append(letter.encode(errors="surrogateescape"))
    return lambda record: b"".join(
        part if isinstance(part, bytes) else part(record) for part in parts
    )
