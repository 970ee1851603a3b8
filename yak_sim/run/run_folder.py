"""The run folder ``OUT/<scenario>/<seed>/``: writes and reads its files.

A run with other settings than the scenario's own has a folder of its own: its name is the seed and
the settings, as in ``7,min_isr=1``.

A file gets its name only when it is complete, and the files of an earlier run are deleted. A
partial file after a failure has the suffix ``.part``. docs/formats.md describes the formats.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final, Protocol

from yak_core.encoding.json_scalars import Mismatch
from yak_core.trace.reader import decode_trace, digest_of_file, encode_trace
from yak_core.trace.recorder import Trace
from yak_sim.world.expect import Expectation
from yak_sim.world.history import History

SCHEMA: Final = 2
RENAMED: Final = {"claims": "expectations"}
"""Field names of verdict schema 1, and their names in the current schema."""

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

_SETTINGS_MAX: Final = 80
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Saved(Protocol):
    """What a run folder contains; see :class:`yak_sim.run.verdict.RunResult`."""

    @property
    def scenario(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def settings(self) -> Mapping[str, int | str | bool]: ...
    @property
    def valid(self) -> bool | str: ...
    @property
    def reason(self) -> str: ...
    @property
    def violations(self) -> Sequence[Mapping[str, str | int]]: ...
    @property
    def goals(self) -> Mapping[str, int]: ...
    @property
    def expectations(self) -> Sequence[Expectation]: ...
    @property
    def figures(self) -> Mapping[str, int]: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def history(self) -> History: ...


class OutputError(Exception):
    """A part of the run folder could not be written."""


class FormatError(ValueError):
    """A file does not have the expected format."""


def write_run(result: Saved, out: Path, command: Sequence[str]) -> Path:
    """Write the folder of a run and return its path. ``command`` is the command of the run.

    If the link ``latest`` cannot be created, print a warning to stderr. Raise OutputError if a file
    cannot be written; the other files are kept.
    """
    if not _NAME.fullmatch(result.scenario):
        raise OutputError(f"the scenario name {result.scenario!r} is not a valid folder name")
    folder = out / result.scenario / folder_name(result.seed, result.settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
            (folder / f"{name}{PART}").unlink(missing_ok=True)
        failures = _write_files(result, folder, command)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        why = error.strerror or str(error)
        raise OutputError(f"cannot write the output folder {folder}: {why}{place}") from error
    warning = _link_latest(folder)
    if warning:
        print(warning, file=sys.stderr)
    if failures:
        what = "; ".join(sentence for sentence, _ in failures)
        raise OutputError(f"{what}; the other files are in {folder}") from failures[0][1]
    return folder


def folder_name(seed: int, settings: Mapping[str, int | str | bool]) -> str:
    """Return the name of the run folder of a seed and the settings of the run.

    Characters that a file name should not have are replaced. A long name ends in a checksum of the
    settings instead of all of them.
    """
    if not settings:
        return str(seed)
    text = ",".join(f"{name}={value}" for name, value in sorted(settings.items()))
    name = re.sub(r"[^A-Za-z0-9_=,.-]", "_", text)
    if name != text or len(name) > _SETTINGS_MAX:
        name = f"{name[:_SETTINGS_MAX]}~{zlib.crc32(text.encode()):08x}"
    return f"{seed},{name}"


def read_trace(path: Path, *, incomplete: bool = False) -> Trace:
    """Return the trace of a file or a run folder; ``incomplete`` as in decode_trace.

    Raise TraceError for a damaged trace, OSError for an unreadable file.
    """
    with _file(path, TRACE).open("rb") as lines, _gc_disabled():
        return decode_trace(lines, incomplete=incomplete)


def read_history(path: Path) -> list[dict[str, object]]:
    """Return the rows of a history file or a run folder.

    Raise FormatError for an invalid history, OSError for an unreadable file.
    """
    rows: list[dict[str, object]] = []
    with _file(path, HISTORY).open("rb") as lines:
        for number, line in enumerate(lines):
            row = _parsed(line, f"line {number + 1} of the history")
            missing = [name for name in HISTORY_FIELDS if name not in row]
            if missing or row["i"] != number:
                problem = (
                    f"has no field {missing[0]!r}"
                    if missing
                    else f"has row number {row['i']}, expected {number}"
                )
                raise FormatError(f"line {number + 1} of the history {problem}")
            rows.append(row)
    return rows


def read_verdict(path: Path) -> dict[str, object]:
    """Return the verdict of a file or a run folder.

    Raise FormatError for an invalid verdict or schema, OSError for an unreadable file.
    """
    verdict = _parsed(_file(path, VERDICT).read_bytes(), "the verdict")
    found = verdict.get("schema")
    if found not in (1, SCHEMA):
        raise FormatError(f"the verdict has schema {found!r}, expected 1 or {SCHEMA}")
    if found == 1:
        verdict = {RENAMED.get(name, name): value for name, value in verdict.items()}
    missing = [name for name in VERDICT_FIELDS if name not in verdict]
    if missing:
        raise FormatError(f"the verdict has no field {missing[0]!r}")
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
    """Check the trace of a file or a run folder completely, and return its digest.

    Raise TraceError for a damaged trace, OSError for an unreadable file.
    """
    with _file(path, TRACE).open("rb") as lines:
        return digest_of_file(lines)


def _file(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


def _write_files(
    result: Saved, folder: Path, command: Sequence[str]
) -> list[tuple[str, Exception]]:
    """Write all files. Return (message, error) for each file whose content could not be created.

    Raise OSError if a file cannot be written.
    """
    failures: list[tuple[str, Exception]] = []
    digest: str | None = None
    try:
        with _gc_disabled():
            last = _write(folder / TRACE, encode_trace(result.trace))
        digest = json.loads(last)["end"]["digest"]
    except Mismatch as mismatch:
        failures.append((f"cannot write the trace: {mismatch}", mismatch))
    _write(folder / HISTORY, (_json_line(row) for row in result.history.objects()))
    _write(folder / VERDICT, [_verdict(result, digest)])
    replay = [shlex.join(command), f"# digest: {digest}", f"# valid: {_valid_text(result.valid)}"]
    _write(folder / REPLAY, [f"{line}\n".encode() for line in replay])
    try:
        # Imported here, so that a run without plots does not need matplotlib.
        from yak_sim.plot.watermarks import render_watermarks

        plot = render_watermarks(result.trace)
    except Exception as error:
        failures.append((f"cannot draw the plots: {type(error).__name__}: {error}", error))
    else:
        _write(folder / PNG, [plot.png])
        _write(folder / SVG, [plot.svg])
    return failures


def _write(path: Path, chunks: Iterable[bytes]) -> bytes:
    """Write a temporary file, rename it to ``path`` when it is complete, return the last chunk.

    After a failure, the partial file is renamed to ``path`` with the suffix ``.part``.
    """
    last = b""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                last = chunk
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.replace(path.with_name(f"{path.name}{PART}"))
        raise
    return last


def _json_line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _valid_text(valid: bool | str) -> str:
    return valid if isinstance(valid, str) else str(valid).lower()


def _verdict(result: Saved, digest: str | None) -> bytes:
    verdict = {
        "schema": SCHEMA,
        "scenario": result.scenario,
        "seed": result.seed,
        **({"settings": dict(result.settings)} if result.settings else {}),
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
    """Link ``latest`` to this folder. Return a warning if that fails, else an empty string."""
    link = folder.parent / LATEST
    temporary = folder.parent / f".{LATEST}.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error)
        return f"cannot create the link {link}: {why}; the run folder is {folder}"
    return ""


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Turn garbage collection off: the block creates many objects and no reference cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
