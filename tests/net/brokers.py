"""Broker processes for tests, started as a user would start them, and always ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.net.forked import Forked

PATIENCE_S = 30.0
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("YAK_")}
YAK = (sys.executable, "-P", "-m", "yak_cli")
ROOT = Path(__file__).parents[2]
_NEVER = threading.Event()
_URL = re.compile(r"listening +url=(\S+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for a condition; AssertionError with ``what`` at the timeout."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"timeout: {what}"
        _NEVER.wait(0.02)


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Return status and JSON body of a GET, or (0, {}) without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return (answer.status, json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return (error.code, json.load(error))
    except (OSError, ValueError):
        return (0, {})


def post(url: str, body: object) -> tuple[int, dict[str, Any]]:
    """POST JSON; return the status and the JSON body."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return (answer.status, json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return (error.code, json.load(error))


class BrokerProcess:
    """A ``yak broker`` process. A ``fresh`` one is started, the others are forked.

    ``before`` is a command that runs a fresh one. ``out`` replaces the file ``log``.
    """

    def __init__(
        self,
        log: Path,
        *words: str,
        env: dict[str, str] | None = None,
        fresh: bool = False,
        before: tuple[str, ...] = (),
        out: IO[bytes] | None = None,
    ) -> None:
        self.log = log
        env = {**CLEAN, **(env or {})}
        self.process: subprocess.Popen[bytes] | Forked
        with log.open("ab") as file, Path(os.devnull).open("rb") as nothing:
            out = out or file
            if fresh:
                self.process = subprocess.Popen(
                    [*before, *YAK, "broker", *words], cwd=ROOT, env=env, stdin=nothing, stdout=out,
                    stderr=out, start_new_session=True,
                )  # fmt: skip
            else:
                self.process = Forked(("broker", *words), env, nothing, out, out)

    @property
    def output(self) -> str:
        """The output so far."""
        return _COLOURS.sub("", self.log.read_text(errors="replace"))

    @property
    def url(self) -> str:
        """Wait until the broker listens; return its URL."""
        until(lambda: _URL.search(self.output) or not self.up, f"the broker listens: {self.output}")
        found = _URL.findall(self.output)
        assert found, f"the broker does not listen: {self.output}"
        return str(found[-1])

    @property
    def up(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def health(self) -> dict[str, Any]:
        """Return the body of GET /health; empty without a response."""
        return get(f"{self.url}/health")[1] if self.up else {}

    def wait_until_ready(self, within_s: float = PATIENCE_S) -> None:
        """Wait until the broker is healthy."""
        until(lambda: not self.up or self.health().get("status") == "ok", self.output, within_s)
        assert self.up, self.output

    def wait_for_log(self, text: str) -> None:
        """Wait until a text is in the log, which a thread of the broker writes later."""
        until(lambda: text in self.output, f"no {text!r} in the log: {self.output}")

    def wait_for_end(self, within_s: float = PATIENCE_S) -> int:
        """Wait for the end of the process; return its exit code."""
        return self.process.wait(within_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self.up:
            self.process.kill()
        self.process.wait()


@contextmanager
def brokers() -> Iterator[Callable[..., BrokerProcess]]:
    """Yield a function that starts brokers, and kill killed at the end."""
    started: list[BrokerProcess] = []

    def start(log: Path, *words: str, **how: Any) -> BrokerProcess:
        started.append(BrokerProcess(log, *words, **how))
        return started[-1]

    try:
        yield start
    finally:
        for broker in started:
            broker.close()
