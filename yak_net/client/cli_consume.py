"""What ``yak consume`` does: records in, lines out; must never parse options."""

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
    """The command line, parsed. ``begin``: "earliest", "latest", an offset, or -N for N records."""

    servers: tuple[str, ...]
    begin: str | int
    count_max: int | None
    stop_at_end: bool
    render: Render
    timeout_s: float | None


class Reading:
    """One run: how far it has come, and what was odd about the offsets."""

    def __init__(self, options: ConsumeOptions, interrupts: Interrupts) -> None:
        self.options = options
        self.interrupts = interrupts
        self.started = False
        self.count = 0
        self.span: tuple[int, int] | None = None
        self._gaps = False
        self._steps_back = False

    async def run(self) -> None:
        """Read until there is enough, or for ever. Raises a YakError, and what writing raises."""
        options = self.options
        within_ms = BOOTSTRAP_TIMEOUT_MS
        if options.timeout_s is not None:
            # A little less, so that it is said if nobody answers at all.
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
        """Take in the offset of the next record; the first gap and the first step back are told."""
        if self.span is None:
            self.span = (offset, offset)
            return
        first, before = self.span
        self.span = (first, offset)
        if offset > before + 1 and not self._gaps:
            self._gaps = True
            click.echo(f"Note: offset {offset} follows {before}: some are missing.", err=True)
        elif offset <= before and not self._steps_back:
            self._steps_back = True
            click.echo(f"Note: offset {offset} follows {before}: a step back.", err=True)

    def describe(self) -> str:
        """How much was read, in words."""
        places = places_of(self.count, self.span)
        return f"{records_of(self.count)} read{f', {places}' if places else ''}"


async def consume(options: ConsumeOptions) -> int:
    """Read and write, and sum up on standard error; the exit code."""
    with Interrupts() as interrupts:
        reading = Reading(options, interrupts)
        watching = None
        if sys.stderr.isatty() and not os.isatty(STDOUT):
            watching = asyncio.create_task(show_progress(reading.describe))
        try:
            async with asyncio.timeout(options.timeout_s):
                ended = await interrupts.outlasted_by(reading.run())
        except TimeoutError:
            what = f"Error: the time of {options.timeout_s:g} s is over: {reading.describe()}"
            click.echo(f"{what}; give more with --timeout", err=True)
            return TIMED_OUT
        except YakError as error:
            come = f"{reading.describe()}: " if reading.started else ""
            click.echo(f"Error: {come}{error}", err=True)
            return 1
        except BrokenPipeError:
            return 0  # whoever reads has had enough
        except OSError as error:
            click.echo(f"Error: {reading.describe()}: output fails: {error.strerror}", err=True)
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
        # A signal is how following ends, so it has done what it was asked to.
        click.echo(reading.describe(), err=True)
        return 0
    click.echo(f"Interrupted: {reading.describe()}.", err=True)
    return interrupted


def value_line(record: ConsumerRecord) -> bytes:
    """The value as it is, on a line; a null value is an empty line."""
    return (record.value or b"") + b"\n"


def json_line(record: ConsumerRecord) -> bytes:
    """The record as an object, as docs/formats.md has it."""
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
    """What writes a record as ``form`` says, with kcat's words. Raises ValueError.

    %o offset, %k key, %s value, %e leader epoch, %T timestamp in ms, %% a percent sign; newlines
    are not added: \\n is one.
    """
    parts: list[bytes | Render] = []
    letters = iter(form)
    for letter in letters:
        if letter == "%":
            word = next(letters, "")
            if word not in _FIELDS:
                known = ", ".join(f"%{each}" for each in _FIELDS)
                raise ValueError(f"a format has no %{word}; it has {known}")
            parts.append(_FIELDS[word])
        elif letter == "\\":
            word = next(letters, "")
            parts.append(_ESCAPES.get(word, f"\\{word}".encode()))
        else:
            parts.append(letter.encode(errors="surrogateescape"))
    return lambda record: b"".join(
        part if isinstance(part, bytes) else part(record) for part in parts
    )
