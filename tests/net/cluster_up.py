"""``yak cluster up`` with any specification, for fake brokers."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from yak_net.cluster.cli import Printer
from yak_net.cluster.service import launch, run_cluster
from yak_net.cluster.spec import ClusterSpec
from yak_net.runtime.state_file import state_path


def main(text: str, how: str) -> int:
    """Run the cluster; return the exit code."""
    body = json.loads(text)
    body |= {"data_dir": Path(body["data_dir"]), "command": tuple(body["command"])}
    spec = ClusterSpec(**body)
    with Printer() as printer:
        if how:
            return launch(spec, state_path(), printer.report, 30.0)
        return asyncio.run(run_cluster(spec, state_path(), printer.report, 30.0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
