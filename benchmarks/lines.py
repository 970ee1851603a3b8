"""Measurements of the command line: lines of a file into a log, and out of it into a file.

Ours are ``yak produce`` and ``yak consume --from-beginning -e``; the peer is ``redis-cli``, with
``--pipe`` and with ``XRANGE``. Each is one process, from its start to its end. The input of
``redis-cli --pipe`` has the form of Redis' protocol; it is written before the measurement, and ends
with WAIT.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.common import CannotMeasure
from benchmarks.net import value_of
from benchmarks.servers import HOST

CLIENT: Final = "redis-cli"
KEY: Final = b"lines"
FIELD: Final = b"d"
WAIT_MS: Final = 60_000
LINES_OF_AN_ENTRY: Final = 3
"""redis-cli prints the id, the field and the value of an entry."""
ENDS_S: Final = 600.0


class WrongOutput(CannotMeasure):
    """A command failed, or its output is not what was sent."""


def missing() -> str:
    """Return why redis-cli cannot be measured; empty if it can."""
    return "" if shutil.which(CLIENT) else f"{CLIENT} is not on the PATH"


def write_lines(path: Path, count: int, size: int) -> bytes:
    """Write ``count`` equal lines of ``size`` bytes; return one line without its end."""
    line = value_of(size)
    path.write_bytes((line + b"\n") * count)
    return line


def ours_s(servers: Sequence[str], folder: Path, lines: Path) -> tuple[float, float]:
    """Return the seconds to produce the lines and to consume them. The log has to be empty."""
    yak = (sys.executable, "-P", "-m", "yak_cli")
    at = ("-b", ",".join(servers))
    in_s = _timed((*yak, "produce", *at), lines, folder / "produced")
    out = folder / "consumed"
    out_s = _timed((*yak, "consume", "--from-beginning", "-e", *at), Path(os.devnull), out)
    if not filecmp.cmp(lines, out, shallow=False):
        raise WrongOutput("yak consume: the records are not the lines that were sent")
    return in_s, out_s


def redis_s(port: int, replicas: int, folder: Path, line: bytes, count: int) -> tuple[float, float]:
    """Return the seconds to add the lines to a stream, with WAIT, and to print the stream."""
    commands = folder / "commands"
    with commands.open("wb") as file:
        file.write(_command(b"XADD", KEY, b"*", FIELD, line) * count)
        file.write(_command(b"WAIT", b"%d" % replicas, b"%d" % WAIT_MS))
    client, report = (CLIENT, "-h", HOST, "-p", str(port)), folder / "piped"
    in_s = _timed((*client, "--pipe"), commands, report)
    if f"errors: 0, replies: {count + 1}" not in report.read_text():
        raise WrongOutput(f"{CLIENT} --pipe: {report.read_text().strip()}")
    out = folder / "entries"
    out_s = _timed((*client, "--raw", "XRANGE", KEY.decode(), "-", "+"), Path(os.devnull), out)
    with out.open("rb") as entries:
        found = sum(text.rstrip(b"\n") == line for text in entries)
    if found != count:
        raise WrongOutput(f"{CLIENT} XRANGE: expected {count} lines, found {found}")
    return in_s, out_s


def _command(*words: bytes) -> bytes:
    """Return a command in Redis' protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def _timed(command: Sequence[str], source: Path, target: Path) -> float:
    """Run a command from a file to a file, and return its seconds."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
    with source.open("rb") as stdin, target.open("wb") as stdout:
        began = time.perf_counter()
        done = subprocess.run(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, timeout=ENDS_S,
            check=False,
        )  # fmt: skip
        took_s = time.perf_counter() - began
    if done.returncode:
        problem = done.stderr.decode(errors="replace").strip()
        raise WrongOutput(f"{command[0]} ended with {done.returncode}: {problem}")
    return took_s
