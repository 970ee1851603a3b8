"""Specification of a cluster of this machine: its brokers, folders and command lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from yak_net.cluster.errors import CannotStart

NODES: Final = 3
STOP_S: Final = 15.0
"""Time limit for a broker to stop; a broker limits its own shutdown to ten seconds."""
BROKER: Final = (sys.executable, "-P", "-m", "yak_cli", "broker")


@dataclass(frozen=True)
class ClusterSpec:
    """Specification of a cluster.

    ``nodes`` is the number of brokers, named n1, n2, ...; None: that of the existing cluster, or 3.
    Without ``redis_url`` the metadata store is embedded. ``port`` is the first of consecutive
    ports; 0: those from ``preferred_port`` on if all are free, else free ports. Traces are recorded
    in ``trace_dir``, if given. Logs go to ``log_dir``, else to ``trace_dir``, else to ``data_dir``.
    ``stop_s`` is the time limit for a broker to stop. Tests set ``env`` (more variables) and
    ``command`` (the program).
    """

    data_dir: Path
    nodes: int | None = None
    cluster: str = "yak"
    redis_url: str = ""
    port: int = 0
    preferred_port: int = 0
    flush: str = "batch"
    min_isr: int | None = None
    trace_dir: Path | None = None
    log_dir: Path | None = None
    stop_s: float = STOP_S
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = BROKER

    @property
    def data(self) -> Path:
        """The absolute path of the data folder."""
        return self.data_dir.absolute()

    @property
    def logs(self) -> Path:
        """The absolute path of the folder of the broker logs."""
        return (self.log_dir or self.trace_dir or self.data_dir).absolute()

    def names(self, members: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the ids of the brokers.

        ``members`` are the brokers of the existing cluster. Raises CannotStart if they differ.
        """
        count = self.nodes or len(members) or NODES
        names = tuple(f"n{number}" for number in range(1, count + 1))
        if members and set(names) != set(members):
            raise CannotStart(
                f"cluster {self.cluster} has the brokers {', '.join(members)}, got "
                f"{', '.join(names)}; omit --nodes, or give another --cluster and --data-dir"
            )
        return names

    def broker_command(self, node: str, urls: Mapping[str, str]) -> tuple[str, ...]:
        """Return the command line of the broker ``node``; ``urls`` are the URLs of all brokers.

        The Redis URL is passed in the environment, because it may contain a password and other
        users can read the command line.
        """
        command = ["--node-id", node, "--listen", urls[node].removeprefix("http://")]
        command += ["--brokers", ",".join(f"{each}={url}" for each, url in urls.items())]
        command += ["--cluster", self.cluster, "--data-dir", str(self.data / node)]
        command += ["--flush", self.flush]
        if self.min_isr is not None:
            command += ["--min-isr", str(self.min_isr)]
        if self.trace_dir is not None:
            command += ["--trace", str(self.trace_dir.absolute() / f"{node}.jsonl")]
        return (*self.command, *command)
