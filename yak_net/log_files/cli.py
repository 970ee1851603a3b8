"""The command ``yak log``: show, verify and compare the logs in data folders.

Nothing is written, locked or repaired, and a broker may run on the folders meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from yak_net.client.cli_types import HELP, ClientCommand, Named

if TYPE_CHECKING:
    from yak_net.log_files.diff import Comparison
    from yak_net.log_files.verify import Verdict

FAILED: Final = 1
UNKNOWN: Final = 3
PROGRESS_BYTES: Final = 64 << 20
"""Bytes of logs from which on a terminal shows progress."""

PATH: Final = click.Path(exists=True, path_type=Path)
_NO_INDEX: Final = "a broker builds its index in memory; there is no index file"
_ABSENT: Final = {
    "--files": "give the files as arguments",
    "--index-sanity-check": _NO_INDEX,
    "--verify-index-only": _NO_INDEX,
    "--max-bytes": "limit the number of batches with --max-batches",
    "--cluster-metadata-decoder": "the metadata is in the store; show it with yak describe",
}
"""Options of kafka-dump-log that YAK does not have, and what to do instead."""


class CannotRead(click.ClickException):
    """A path is no data folder, or cannot be read; exit code 2."""

    exit_code = 2


@click.group(context_settings=HELP)
def log() -> None:
    """Show, verify and compare the logs on disk, without a broker.

    These commands only read. A broker may use the folder at the same time: then only what is below
    its flush checkpoint is verified and compared.
    """


@contextmanager
def _reading() -> Iterator[None]:
    """Turn errors of a read into an exit code."""
    from yak_net.storage.system import StorageError

    try:
        yield
    except StorageError as error:
        raise CannotRead(str(error)) from error
    except PermissionError as error:
        raise CannotRead(f"cannot read {error.filename}: {error.strerror}") from error
    except FileNotFoundError as error:
        raise CannotRead(
            f"cannot read {error.filename}: it was removed meanwhile; start the command again"
        ) from error


@log.command("dump", cls=ClientCommand, absent=_ABSENT, context_settings=HELP)
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="FILE|FOLDER...")
@click.option(
    "--records",
    "-r",
    "with_records",
    is_flag=True,
    cls=Named,
    aliases=("--print-data-log", "--deep-iteration"),
    help="Print the records of each batch, too.",
)
@click.option(
    "-o",
    "--offset",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Begin with the batch that has the offset N.",
)
@click.option(
    "-n", "--max-batches", type=click.IntRange(0), metavar="N", help="Print at most N batches."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def dump(
    paths: tuple[Path, ...], with_records: bool, offset: int, max_batches: int | None, as_json: bool
) -> None:
    """Print batches and records, like kafka-dump-log.

    A FOLDER is the data folder of a broker: all of its files are printed.

    Exit codes: 0 all batches are intact (a last one may be unfinished), 1 there are invalid bytes,
    2 a path is no such file.
    """
    from yak_net.log_files.dump import Dump, text_of

    invalid = torn = 0
    for path in paths:
        work = Dump(with_records, offset, max_batches)
        with _reading():
            for line in work.lines(path):
                click.echo(json.dumps(line, default=str) if as_json else text_of(line))
        invalid += work.invalid_bytes
        torn += work.torn
    if invalid:
        rest = f", {torn} of them an unfinished write" if torn else ""
        click.echo(f"{invalid} invalid bytes{rest}", err=True)
    sys.exit(FAILED if invalid > torn else 0)


@log.command("verify", context_settings=HELP)
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per data folder.")
def verify(folders: tuple[Path, ...], as_json: bool) -> None:
    """Verify the batches, checkpoints and markers in folders.

    FOLDER is the data folder of a broker, or contains those of a cluster.

    Checked are CRC and form of each batch and record, offsets, epochs, the sequences of idempotent
    producers, the flush checkpoint, the epoch checkpoint, the HW checkpoint, the clean-shutdown
    marker and all saved values.

    Exit codes: 0 no problem, 1 a folder has a problem, 2 a path is no data folder.
    """
    from yak_net.log_files.reading import folders_in
    from yak_net.log_files.verify import verify as verify_folder

    with _reading():
        found = [each for path in folders for each in folders_in(path)]
    valid = True
    for path in found:
        with _reading(), _progress(_size_of(path), f"verify {path}") as on_bytes:
            verdict = verify_folder(path, on_bytes)
        valid = valid and verdict.valid
        click.echo(json.dumps(verdict.as_json()) if as_json else _verdict_text(verdict))
    sys.exit(0 if valid else FAILED)


@log.command("diff", context_settings=HELP)
@click.argument("one", type=PATH, metavar="A")
@click.argument("other", type=PATH, metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def diff(one: Path, other: Path, as_json: bool) -> None:
    """Find the first offset at which two replicas differ.

    A and B are data folders or log files. Above the high watermark replicas may differ; the HW
    checkpoints in the folders are lower bounds of it.

    Exit codes: 0 the logs are equal below both ends, or differ only at or above the lower HW
    checkpoint; 1 committed records differ or are missing; 2 a path is no log; 3 the logs differ,
    and there is no HW checkpoint.
    """
    from yak_net.log_files.diff import Difference
    from yak_net.log_files.diff import diff as compare

    size = _size_of(one) + _size_of(other)
    with _reading(), _progress(size, "compare") as on_bytes:
        found = compare(one, other, on_bytes)
    click.echo(json.dumps(found.as_json()) if as_json else _comparison_text(found))
    codes = {Difference.COMMITTED: FAILED, Difference.UNKNOWN: UNKNOWN}
    sys.exit(codes.get(found.difference, 0))


# -- text ------------------------------------------------------------------------------------------


def _verdict_text(verdict: Verdict) -> str:
    use = "" if verdict.in_use_by is None else f", in use by process {verdict.in_use_by}"
    epochs = ", ".join(f"{epoch} from {start}" for epoch, start in verdict.epochs) or "none"
    clean = "none" if verdict.clean is None else str(verdict.clean)
    flushed = "none" if verdict.flushed is None else str(verdict.flushed)
    sizes = f"{verdict.batches} batches, {verdict.records} records, {verdict.bytes} bytes"
    marks = f"HW checkpoint: {verdict.hw}, clean-shutdown marker: {clean}"
    lines = [
        f"{verdict.folder}: broker {verdict.node} of cluster {verdict.cluster or '-'}{use}",
        f"  log: offsets [{verdict.log_start}, {verdict.leo}), {sizes}",
        f"  epochs: {epochs}",
        f"  flush checkpoint: {flushed}, {marks}",
        *(f"  note: {note}" for note in verdict.notes),
        *(f"  problem ({each.check}): {each.what}" for each in verdict.problems),
    ]
    count = len(verdict.problems)
    return "\n".join([*lines, "  valid" if not count else f"  not valid: {count} problems"])


def _comparison_text(found: Comparison) -> str:
    from yak_net.log_files.diff import Difference

    lines = []
    for side in found.sides:
        hw = "no HW checkpoint" if side.hw is None else f"HW checkpoint {side.hw}"
        use = "" if side.in_use_by is None else f", in use by process {side.in_use_by}"
        lines.append(f"{side.name}: offsets [{side.log_start}, {side.leo}), {hw}{use}, {side.path}")
        if side.damage:
            lines.append(f"{side.name} is not valid from {side.leo} on: {side.damage}")
    end = min(side.leo for side in found.sides)
    lines.append(
        {
            Difference.EQUAL: f"equal below offset {end}",
            Difference.UNCOMMITTED: f"differ from offset {found.offset} on ({found.what}), at or "
            f"above the lower HW checkpoint {found.hw}: no committed record differs",
            Difference.COMMITTED: f"differ from offset {found.offset} on ({found.what}), below the "
            f"lower HW checkpoint {found.hw}: committed records differ or are missing",
            Difference.UNKNOWN: f"differ from offset {found.offset} on ({found.what}); without an "
            "HW checkpoint it is not known whether those records are committed",
        }[found.difference]
    )
    return "\n".join(lines)


# -- progress --------------------------------------------------------------------------------------

OnBytes: TypeAlias = Callable[[int], None]


def _size_of(path: Path) -> int:
    files = [path] if path.is_file() else path.glob("*.log")
    return sum(file.stat().st_size for file in files)


@contextmanager
def _progress(total: int, what: str) -> Iterator[OnBytes]:
    """Yield a function that counts bytes; on a terminal, and for a large log, with a bar."""
    if total < PROGRESS_BYTES or not os.isatty(2):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: Any = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
