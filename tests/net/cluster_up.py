"""``yak cluster up`` with any specification, for brokers that are stand-ins."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from yak_net.cluster.detached import launch
from yak_net.cluster.printing import Printer
from yak_net.cluster.service import run_cluster
from yak_net.cluster.spec import ClusterSpec
from yak_net.cluster.statefile import state_path


def main(text: str, how: str) -> int:
    """Run it; the exit code."""
    body = json.loads(text)
    body |= {"data_dir": Path(body["data_dir"]), "command": tuple(body["command"])}
    start = launch if how else run_cluster
    with Printer() as printer:
        return asyncio.run(start(ClusterSpec(**body), state_path(), printer.tell, 30.0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
