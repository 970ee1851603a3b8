"""Four machines on a VPN: network namespaces whose TUN devices a relay connects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.net.brokers import CLEAN, ROOT, until
from tests.require import executable, missing

SYSTEMS: Final = {f"system-{at}": f"10.147.17.{at}" for at in range(1, 5)}
TUN: Final = Path("/dev/net/tun")
SEED: Final = 7
PATIENCE_S: Final = 120.0

# Programs that reach another machine: the command runs there, the file is copied there.
SSH: Final = """#!/bin/sh
host=$1; shift
cd "$YAK_MACHINES/$host" && exec ip netns exec "$YAK_TAG-$host" sh -c "$*"
"""
SCP: Final = """#!/bin/sh
case $2 in *:) ;; *) echo "scp: expected HOST:, got $2" >&2; exit 1;; esac
exec cp "$1" "$YAK_MACHINES/${2%:}/"
"""


class Machines:
    """The systems of docs/distributed-deployment.md; each has a folder and an address.

    ``slow`` are systems whose link has 40 ms each way and 1 % loss. ``close`` ends all processes in
    the namespaces and deletes these.
    """

    def __init__(self, folder: Path, slow: tuple[str, ...]) -> None:
        self.ip = executable("netns", "ip")
        if os.geteuid() != 0 or not os.access(TUN, os.W_OK):
            missing("tun", f"this user may not use {TUN}")
        self.folder = folder
        self._after = ExitStack()
        self._tag = f"yak{os.getpid()}"
        self._programs()
        links = []
        for system, address in SYSTEMS.items():
            (folder / address).mkdir()
            delay_ms, loss = (40, 0.01) if system in slow else (0, 0)
            links.append(f"{self._device(system)}={address},{delay_ms},{loss}")
        relay = str(Path(__file__).with_name("tun_relay.py"))
        self._relay = subprocess.Popen(
            [sys.executable, relay, str(SEED), *links],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._after.callback(self._end_relay)
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ready\n":
            missing("tun", f"a TUN device cannot be made with {TUN}")
        for system, address in SYSTEMS.items():
            self._add(system, address)

    def run(self, system: str, script: str, *, within_s: float = PATIENCE_S) -> str:
        """Run a script on a machine, in its folder; return its output. It must succeed."""
        done = self.try_run(system, script, within_s=within_s)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def try_run(
        self, system: str, script: str, *, within_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a script on a machine, in its folder."""
        output = self.folder / "output"
        with output.open("w") as out:  # not a pipe: a broker that the script starts keeps it
            done = subprocess.run(
                [*self._in(system), "sh", "-e", "-c", script], cwd=self.home(system),
                env=self._env(), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                timeout=within_s, check=False,
            )  # fmt: skip
        return subprocess.CompletedProcess(done.args, done.returncode, output.read_text(), "")

    def capture(self, system: str, words: Sequence[str]) -> str:
        """Run a command on a machine; return its output, whether it succeeds or not."""
        done = subprocess.run(
            [*self._in(system), *words], cwd=self.home(system), env=self._env(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        return done.stdout

    @contextmanager
    def started(self, system: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a script on a machine in the background, until the block ends."""
        process = subprocess.Popen(
            [*self._in(system), "sh", "-c", script], cwd=self.home(system), env=self._env(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            self._kill_all(system)
            process.wait(10)

    def home(self, system: str) -> Path:
        """Return the folder of a machine."""
        return self.folder / SYSTEMS[system]

    def link(self, system: str, word: str) -> None:
        """Pull the cable of a machine (``down``), or put it back (``up``)."""
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(f"{word} {self._device(system)}\n")
        self._relay.stdin.flush()
        assert self._relay.stdout.readline().split()[0] == word

    def close(self) -> None:
        """End the processes of all machines, and delete the namespaces."""
        for system in SYSTEMS:
            self._kill_all(system)
        self._after.close()

    def _programs(self) -> None:
        self._bin = self.folder / "bin"
        self._bin.mkdir()
        yak = f'#!/bin/sh\nexec {sys.executable} -P -m yak_cli "$@"\n'
        demo = f'#!/bin/sh\nYAK_PROGRAM=yak exec {ROOT}/infra/demo_failover.sh "$@"\n'
        for name, text in {"ssh": SSH, "scp": SCP, "yak": yak, "demo_failover.sh": demo}.items():
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)

    def _env(self) -> dict[str, str]:
        path = f"{self._bin}:{CLEAN['PATH']}"
        tag = {"YAK_MACHINES": str(self.folder), "YAK_TAG": self._tag}
        return {**CLEAN, **tag, "PYTHONPATH": str(ROOT), "PATH": path}

    def _add(self, system: str, address: str) -> None:
        name, device = self._name(system), self._device(system)
        self._call("netns", "add", name)
        self._after.callback(self._call, "netns", "delete", name)
        self._call("link", "set", device, "netns", name)
        for words in (
            f"link set {device} name vpn0", "link set lo up",
            f"address add {address}/24 dev vpn0", "link set vpn0 up",
        ):  # fmt: skip
            self._call("-n", name, *words.split())

    def _kill_all(self, system: str) -> None:
        """Kill the processes of a namespace; wait until they have ended."""

        def pids() -> list[int]:
            words = [self.ip, "netns", "pids", self._name(system)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            return [int(pid) for pid in done.stdout.split()]

        def all_gone() -> bool:
            for pid in pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids()

        until(all_gone, f"processes of {system} have ended")

    def _end_relay(self) -> None:
        assert self._relay.stdin is not None
        self._relay.stdin.close()
        self._relay.wait(10)
        assert self._relay.stdout is not None
        self._relay.stdout.close()

    def _device(self, system: str) -> str:
        return f"{self._tag}t{system[-1]}"

    def _name(self, system: str) -> str:
        return f"{self._tag}-{SYSTEMS[system]}"

    def _in(self, system: str) -> list[str]:
        return [self.ip, "netns", "exec", self._name(system)]

    def _call(self, *words: str) -> None:
        subprocess.run([self.ip, *words], check=True)
