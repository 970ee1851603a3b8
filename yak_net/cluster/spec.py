"""What cluster to run: the values that somebody chose; must never open or start anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from yak_net.cluster import CannotStart

NODES: Final = 3
NODES_MAX: Final = 9
STOP_S: Final = 15.0
"""A broker gives itself ten seconds to stop."""
BROKER: Final = (sys.executable, "-P", "-m", "yak_cli", "broker")


@dataclass(frozen=True)
class ClusterSpec:
    """What to run.

    ``nodes`` None is as many as the cluster has already, or three; they are n1, n2, ... Without
    ``redis_url`` the metadata is embedded. ``port`` is the first of consecutive ports, 0 takes free
    ones. ``config`` are ``name=value`` words for the brokers. Traces go to ``trace_dir``, if given;
    logs to ``log_dir``, else to ``trace_dir``, else to ``data_dir``. ``stop_s`` is how long a
    broker may take to stop. ``env`` and ``command`` are for brokers other than ours.
    """

    nodes: int | None = None
    data_dir: Path = Path(".yak/data")
    cluster: str = "yak"
    redis_url: str = ""
    port: int = 0
    flush: str = "batch"
    min_isr: int | None = None
    config: tuple[str, ...] = ()
    trace_dir: Path | None = None
    log_dir: Path | None = None
    stop_s: float = STOP_S
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = BROKER

    @property
    def data(self) -> Path:
        """The folder of the data, from the root on."""
        return self.data_dir.absolute()

    @property
    def logs(self) -> Path:
        """The folder of the logs, from the root on."""
        return (self.log_dir or self.trace_dir or self.data_dir).absolute()

    def names(self, there: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the brokers; those of a cluster that is ``there`` already must be the same.

        Raises CannotStart.
        """
        count = self.nodes or len(there) or NODES
        names = tuple(f"n{number}" for number in range(1, count + 1))
        if there and set(names) != set(there):
            raise CannotStart(
                f"cluster {self.cluster} has the brokers {', '.join(there)} already, so it cannot "
                f"be started with {', '.join(names)}: leave --nodes out, or give another --cluster "
                "and --data-dir"
            )
        return names

    def words(self, node: str, urls: Mapping[str, str]) -> tuple[str, ...]:
        """The command line of one broker of those at ``urls``.

        The address of the Redis is not in it: it may hold a password, and anybody may read this.
        """
        words = ["--node-id", node, "--listen", urls[node].removeprefix("http://")]
        words += ["--brokers", ",".join(f"{each}={url}" for each, url in urls.items())]
        words += ["--cluster", self.cluster, "--data-dir", str(self.data / node)]
        words += ["--flush", self.flush]
        if self.min_isr is not None:
            words += ["--min-isr", str(self.min_isr)]
        if self.trace_dir is not None:
            words += ["--trace", str(self.trace_dir.absolute() / f"{node}.jsonl")]
        for word in self.config:
            words += ["--config", word]
        return (*self.command, *words)
