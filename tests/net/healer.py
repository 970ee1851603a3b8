"""A healer of clusters that reads only a message and docs/runbook.md, and runs its commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from docs.tables import runbook
from tests.net.brokers import until
from tests.net.cluster_tools import PATIENCE_S, Marked

SECTIONS: Final = runbook.sections(runbook.PAGE.read_text(encoding="utf-8"))
MAY_FAIL: Final = ("yak cluster status", "--dry-run")
PERSISTS_S: Final = 3.0
"""Time after which a message is not that of a broker that starts, or of an election."""
KEY: Final = re.compile(r"redis-cli DEL '([^']+)'")


def diagnose(output: str) -> tuple[runbook.Section, dict[str, str]]:
    """Return the section of the most specific message in an output, and the message's values."""
    found: list[tuple[int, runbook.Section, dict[str, str]]] = []
    for section in SECTIONS:
        for message in section.messages:
            match = runbook.pattern_of(message).search(output)
            if match is not None:
                values = match.groupdict()
                fixed = len(match[0]) - sum(map(len, values.values()))
                found.append((fixed, section, values))
    assert found, f"no message of the runbook: {output}"
    _, section, values = max(found, key=lambda each: each[0])
    return section, values


class Healer:
    """Repairs the cluster of the folder ``cwd``; ``env`` is the operator's environment.

    ``ran`` lists the commands that were run, as in the page.
    """

    def __init__(self, processes: Marked, cwd: Path, **env: str) -> None:
        self.processes = processes
        self.cwd = cwd
        self.env = env
        self.ran: list[str] = []

    def yak(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a yak command."""
        return self.processes.yak(self.cwd, *words, stdin=stdin, **self.env)

    def status(self) -> dict[str, Any]:
        """Return the status of the cluster; empty if no cluster runs."""
        done = self.yak("cluster", "status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode in (0, 10) else {}
        return found

    def problem(self) -> str:
        """Return the problems that ``yak cluster status`` prints; empty if all is well."""
        return self.yak("cluster", "status").stderr

    def wait_for_problem(self) -> str:
        """Wait until ``yak cluster status`` prints why no leader is ready; return it."""
        problem = ""

        def is_not_ready() -> bool:
            nonlocal problem
            done = self.yak("cluster", "status")
            problem = done.stderr
            return done.returncode != 0

        until(is_not_ready, "a problem", PATIENCE_S)
        return problem

    def wait_until_well(self) -> None:
        """Wait until no problem is printed, and all brokers are in the ISR."""
        until(lambda: self._is_well(self.problem()), "all brokers in the ISR", PATIENCE_S)

    def _is_well(self, output: str) -> bool:
        status = {} if output else self.status()
        return len(status.get("isr", ())) == len(status.get("brokers", "-"))

    def heal(self, output: str, **known: str) -> list[str]:
        """Run the commands for each message, first those in ``output``, until all is well.

        That is, until no problem is printed and all brokers are in the ISR. Later messages are read
        again after a while: a broker that was started needs time. ``known`` are values that an
        operator knows. Return the titles of the sections.
        """
        titles: list[str] = []
        seen: tuple[str, float] = ("", 0.0)

        def is_well() -> bool:
            nonlocal output, seen
            if output:
                section, values = diagnose(output)
                if section.title != seen[0]:
                    seen = (section.title, time.monotonic())
                if not titles or time.monotonic() > seen[1] + PERSISTS_S:
                    titles.append(section.title)
                    self._run(section, known | values)
                    seen = ("", 0.0)
            output = self.problem()
            return self._is_well(output)

        try:
            until(is_well, "all brokers in the ISR", 3 * PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; after {titles[-3:]}: {output}") from error
        return titles

    def _run(self, section: runbook.Section, values: dict[str, str]) -> None:
        for line in section.commands:
            self.ran.append(line)
            for filled in self._filled(line, values):
                words = shlex.split(filled)
                done = (
                    self.yak(*words[1:])
                    if words[0] == "yak"
                    else subprocess.run(
                        words, cwd=self.cwd, capture_output=True, text=True, timeout=PATIENCE_S,
                        check=False,
                    )
                )  # fmt: skip
                may_fail = any(each in line for each in MAY_FAIL)
                assert may_fail or done.returncode == 0, (filled, done.stdout, done.stderr)
                key = KEY.search(done.stderr)
                if key is not None:
                    values["KEY"] = key[1]

    def _filled(self, line: str, values: dict[str, str]) -> list[str]:
        """Return the command with its values, once for each broker that it is for."""
        nodes = [values.get("NODE", "")]
        if "NODE" in line and "NODE" not in values:
            nodes = [row["id"] for row in self.status()["brokers"] if not row["up"]]
            nodes = values.get("NODES", ", ".join(nodes)).split(", ") if nodes else []
        known = {name: value for name, value in values.items() if name != "NODES"}
        return [
            re.sub(
                r"\b[A-Z]{2,}\b",
                lambda found, node=node: (known | {"NODE": node}).get(found[0], found[0]),  # type: ignore[misc]
                line,
            )
            for node in nodes
        ]
