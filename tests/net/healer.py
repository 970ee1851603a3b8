"""A healer of clusters that reads only a message and docs/runbook.md, and runs its commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

from docs.tables import runbook
from tests.net.brokers import until
from tests.net.cluster_tools import PATIENCE_S, Marked

SECTIONS: Final = runbook.sections(runbook.PAGE.read_text(encoding="utf-8"))
MAY_FAIL: Final = ("yak cluster status", "--dry-run")
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
        """Return the problems that ``yak cluster status`` prints; empty if the cluster is ready."""
        done = self.yak("cluster", "status")
        return done.stderr if done.returncode else ""

    def wait_for_problem(self) -> str:
        """Wait until ``yak cluster status`` prints a problem; return it."""
        until(self.problem, "a problem", PATIENCE_S)
        return self.problem()

    def heal(self, output: str, **known: str) -> list[str]:
        """Run the commands for each message, first those in ``output``, until all is well.

        That is, until a leader is ready and all brokers are in the ISR. ``known`` are values that
        an operator knows. Return the titles of the sections.
        """
        titles: list[str] = []

        def is_well() -> bool:
            nonlocal output
            if output:
                section, values = diagnose(output)
                titles.append(section.title)
                self._run(section, known | values)
            output = self.problem()
            status = {} if output else self.status()
            return len(status.get("isr", ())) == len(status.get("brokers", "-"))

        try:
            until(is_well, "all brokers in the ISR", PATIENCE_S)
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
