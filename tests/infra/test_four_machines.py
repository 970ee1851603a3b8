"""docs/distributed-deployment.md at work: its commands run on four machines, in their order.

The machines are network namespaces. The link of the follower has 40 ms each way and 1 % loss.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.guide import Block, blocks
from tests.infra.machines import SYSTEMS, Machines
from tests.net.brokers import until
from tests.require import executable

SERVERS: Final = "10.147.17.1:8080,10.147.17.2:8080"
RTT: Final = re.compile(r"= [\d.]+/([\d.]+)/[\d.]+/")
LOSS: Final = re.compile(r"([\d.]+)% packet loss")
CLUSTER_S: Final = 60.0


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Yield the machines of the page; the follower's link is slow."""
    for program in ("ping", "nft", "logrotate"):
        executable(program)
    executable("redis-server")
    found = Machines(tmp_path, slow=("system-2",))
    try:
        yield found
    finally:
        found.close()


class Guide:
    """Runs the page, section by section, and looks at the cluster as a client."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.left = blocks()

    def run(self, section: str) -> list[str]:
        """Run the next blocks, which must be those of ``section``; return their outputs."""
        outputs = []
        while self.left and self.left[0].section == section:
            outputs += self._run(self.left.pop(0))
        assert outputs, f"the next section is not {section}"
        return outputs

    def status(self) -> dict[str, Any]:
        """Return the status of the cluster; empty if no broker answers."""
        done = self.machines.try_run(
            "system-4", f"yak cluster status --json -b {SERVERS} 2> /dev/null"
        )
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        return found

    def wait_for_isr(self) -> str:
        """Wait until both brokers are in the ISR; return the leader."""
        status: dict[str, Any] = {}

        def complete() -> bool:
            nonlocal status
            status = self.status()
            return bool(status) and status["ready"] and sorted(status["isr"]) == ["n1", "n2"]

        until(complete, f"both brokers in the ISR: {status}", CLUSTER_S)
        return str(status["leader"])

    def records(self) -> list[str]:
        """Return all records."""
        words = f"yak consume --from-beginning -e -b {SERVERS} 2> /dev/null"
        return self.machines.run("system-4", words).splitlines()

    def _run(self, block: Block) -> list[str]:
        return [self.machines.run(system, block.script) for system in block.systems]


@pytest.mark.long
@pytest.mark.timeout(500)
def test_the_guide_on_four_machines(machines: Machines) -> None:
    """Goal: each command of the page works as typed, and no confirmed record is lost."""
    guide = Guide(machines)
    [measured] = guide.run("Network")
    (slow_ms, fast_ms), (slow_loss, fast_loss) = RTT.findall(measured), LOSS.findall(measured)
    assert 80 <= float(slow_ms) < 120, measured
    assert 0.2 < float(slow_loss) < 6, measured
    assert float(fast_ms) < 20, measured
    assert float(fast_loss) == 0, measured
    guide.run("Firewall")
    guide.run("System 3: Redis")
    guide.run("Systems 1 and 2: brokers")
    refused = "curl -s -m 2 telnet://10.147.17.3:6379 < /dev/null"
    assert machines.try_run("system-4", refused).returncode == 28  # a timeout: the firewall
    assert guide.wait_for_isr() == "n1"
    read, view = guide.run("System 4: clients")
    assert "one\ntwo\nthree\n" in read
    assert view.split()[view.split().index("leo:n2") - 1] == "3"
    verdict, _ = guide.run("Failover")
    assert verdict.splitlines()[-1].startswith("verdict: nothing is lost: 250"), verdict
    assert "n2 leads after" in verdict
    assert guide.wait_for_isr() == "n2"
    guide.run("A lost disk")
    assert guide.wait_for_isr() == "n2"
    assert machines.run("system-1", "ls data").split()
    saved = guide.records()
    assert len(saved) == 253
    backup = guide.left.pop(0)
    for system in backup.systems:
        machines.run(system, backup.script)
        guide.wait_for_isr()
    machines.run("system-4", f"yak produce -b {SERVERS} --message 'after the backup'")
    guide.run("Backup and restore")
    guide.wait_for_isr()
    assert guide.records() == saved
    _check_rotation(guide)
    assert guide.left == []
    _check_secrets(machines)


def _check_rotation(guide: Guide) -> None:
    """Run the last section, rotate by force, and see that the broker writes to the new file."""
    guide.run("Log rotation")
    force = 'logrotate --force --state "$PWD/logrotate.state" logrotate.conf'
    guide.machines.run("system-2", force)
    log = guide.machines.home("system-2") / "broker.log"
    assert (log.with_name("broker.log.1")).stat().st_size > 0
    guide.machines.run("system-1", 'kill -9 "$(cat broker.pid)"')
    until(lambda: log.read_text().strip(), "a line in the truncated log", CLUSTER_S)
    guide.machines.run("system-1", "sh start.sh")
    guide.wait_for_isr()


def _check_secrets(machines: Machines) -> None:
    """The password is in no log and in no list of arguments."""
    password = (machines.home("system-3") / "redis-password").read_text().strip()
    for system in SYSTEMS:
        for log in machines.home(system).glob("*.log*"):
            assert password not in log.read_text(errors="replace")
    arguments = machines.run("system-1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "yak_cli broker" in arguments
    assert password not in arguments


def test_each_block_names_its_systems() -> None:
    """Goal: no command of the page is forgotten by the test above."""
    assert len(blocks()) > 15
    assert all(block.systems for block in blocks())
    assert all(set(block.systems) <= set(SYSTEMS) for block in blocks())
