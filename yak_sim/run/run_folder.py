"""The folder of one run, ``OUT/<scenario>/<seed>/``, written and read; must never judge a run.

Each file appears under its name only when it is whole, and nothing of an earlier run stays beside
it. What was written of a file before a failure is kept with ``.part`` behind its name. The formats
are in docs/formats.md.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from yak_core.encoding.json_scalars import Misfit
from yak_core.trace.reader import decode_trace, digest_of_file, encode_trace
from yak_core.trace.recorder import Trace
from yak_sim.run.verdict import RunResult

SCHEMA: Final = 2
RENAMED: Final = {"claims": "expectations"}
"""Fields of a verdict of schema 1."""

TRACE: Final = "trace.jsonl"
HISTORY: Final = "history.jsonl"
VERDICT: Final = "verdict.json"
PNG: Final = "watermarks.png"
SVG: Final = "watermarks.svg"
REPLAY: Final = "replay.txt"
FILES: Final = (TRACE, HISTORY, VERDICT, PNG, SVG, REPLAY)
PART: Final = ".part"
LATEST: Final = "latest"

HISTORY_FIELDS: Final = (
    *("i", "t_us", "client", "process", "type", "f", "value"),
    *("offset", "broker", "epoch", "hw", "error"),
)
VERDICT_FIELDS: Final = ("scenario", "seed", "valid", "digest", "violations", "goals", "figures")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class OutputError(Exception):
    """Something could not be written. One sentence, without a full stop."""


class FormatError(ValueError):
    """A file is not what it should be. One sentence, without a full stop."""


def write_run(result: RunResult, out: Path, command: Sequence[str]) -> Path:
    """Write the folder of a run and return it; ``command`` are the words that repeat the run.

    A link ``latest`` that cannot be made is said on standard error. Raises OutputError when
    anything else cannot be written; whatever could be is then there.
    """
    if not _NAME.fullmatch(result.scenario):
        raise OutputError(f"the scenario name {result.scenario!r} cannot name a folder")
    folder = out / result.scenario / str(result.seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
            (folder / f"{name}{PART}").unlink(missing_ok=True)
        failures = _write_files(result, folder, command)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        why = error.strerror or str(error)
        raise OutputError(f"the output folder {folder} cannot be written: {why}{place}") from error
    note = _link_latest(folder)
    if note:
        print(note, file=sys.stderr)
    if failures:
        what = "; ".join(sentence for sentence, _ in failures)
        raise OutputError(f"{what}; the rest of the run is in {folder}") from failures[0][1]
    return folder


def read_trace(path: Path, *, cut_short: bool = False) -> Trace:
    """The trace in a file, or in the folder of a run; ``cut_short`` as in decode_trace.

    Raises TraceError for what is not an intact trace, OSError for what cannot be read.
    """
    with _file(path, TRACE).open("rb") as lines, _collector_off():
        return decode_trace(lines, cut_short=cut_short)


def read_history(path: Path) -> list[dict[str, object]]:
    """The rows of a history file, or of the one in the folder of a run.

    Raises FormatError for what is no history, OSError for what cannot be read.
    """
    rows: list[dict[str, object]] = []
    with _file(path, HISTORY).open("rb") as lines:
        for number, line in enumerate(lines):
            row = _parsed(line, f"line {number + 1} of the history")
            missing = [name for name in HISTORY_FIELDS if name not in row]
            if missing or row["i"] != number:
                lacks = f"lacks {missing[0]!r}" if missing else f"is not row {number}"
                raise FormatError(f"line {number + 1} of the history {lacks}")
            rows.append(row)
    return rows


def read_verdict(path: Path) -> dict[str, object]:
    """A verdict file, or the one in the folder of a run.

    Raises FormatError for what is no verdict of this schema, OSError for what cannot be read.
    """
    verdict = _parsed(_file(path, VERDICT).read_bytes(), "the verdict")
    found = verdict.get("schema")
    if found not in (1, SCHEMA):
        raise FormatError(f"the verdict has schema {found!r}; this version reads 1 and {SCHEMA}")
    if found == 1:  # the name of schema 1, at its place
        verdict = {RENAMED.get(name, name): value for name, value in verdict.items()}
    missing = [name for name in VERDICT_FIELDS if name not in verdict]
    if missing:
        raise FormatError(f"the verdict lacks {missing[0]!r}")
    return verdict


def _parsed(text: bytes, what: str) -> dict[str, object]:
    try:
        value: object = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not a JSON object")
    return value


def digest_of_path(path: Path) -> str:
    """The digest of the trace in a file, or in the folder of a run, each byte of it checked.

    Raises TraceError for what is not an intact trace, OSError for what cannot be read.
    """
    with _file(path, TRACE).open("rb") as lines:
        return digest_of_file(lines)


def _file(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


def _write_files(
    result: RunResult, folder: Path, command: Sequence[str]
) -> list[tuple[str, Exception]]:
    """All files; sentences on those whose contents could not be made. OSError ends it."""
    failures: list[tuple[str, Exception]] = []
    digest: str | None = None
    try:
        with _collector_off():
            last = _write(folder / TRACE, encode_trace(result.trace))
        digest = json.loads(last)["end"]["digest"]
    except Misfit as misfit:
        failures.append((f"the trace cannot be written: {misfit}", misfit))
    _write(folder / HISTORY, (_line(row) for row in result.history.objects()))
    _write(folder / VERDICT, [_verdict(result, digest)])
    replay = [shlex.join(command), f"# digest: {digest}", f"# valid: {_word(result.valid)}"]
    _write(folder / REPLAY, [f"{line}\n".encode() for line in replay])
    try:
        # Where only numbers are wanted, matplotlib need not be there.
        from yak_sim.plot.watermarks import render_watermarks

        plot = render_watermarks(result.trace)
    except Exception as error:
        failures.append((f"the plots cannot be drawn: {type(error).__name__}: {error}", error))
    else:
        _write(folder / PNG, [plot.png])
        _write(folder / SVG, [plot.svg])
    return failures


def _write(path: Path, chunks: Iterable[bytes]) -> bytes:
    """Write a file that appears when it is whole; until then it is elsewhere. Gives the last chunk.

    What was written before a failure is moved to the name with ``.part``.
    """
    last = b""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                last = chunk
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.replace(path.with_name(f"{path.name}{PART}"))
        raise
    return last


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _word(valid: bool | str) -> str:
    return valid if isinstance(valid, str) else str(valid).lower()


def _verdict(result: RunResult, digest: str | None) -> bytes:
    verdict = {
        "schema": SCHEMA,
        "scenario": result.scenario,
        "seed": result.seed,
        "valid": result.valid,
        "reason": result.reason,
        "digest": digest,
        "violations": [dict(violation) for violation in result.violations],
        "expectations": [asdict(expectation) for expectation in result.expectations],
        "goals": dict(result.goals),
        "figures": dict(result.figures),
    }
    return json.dumps(verdict, ensure_ascii=False, indent=2).encode() + b"\n"


def _link_latest(folder: Path) -> str:
    """Make ``latest`` lead to this folder; a sentence when that is not possible, else empty."""
    link = folder.parent / LATEST
    aside = folder.parent / f".{LATEST}.{os.getpid()}"
    try:
        aside.unlink(missing_ok=True)
        aside.symlink_to(folder.name, target_is_directory=True)
        aside.replace(link)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error)
        return f"no link {link} could be made ({why}); this run is in {folder}"
    return ""


@contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection meanwhile: nothing here makes cycles, and there are many objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
