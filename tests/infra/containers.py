"""The services of the compose file as plain processes, each in its own network namespace.

A bridge connects the namespaces, and a private /etc/hosts names them as the engine's DNS would. The
namespace ``host`` is the machine: relays publish the ports on its loopback. A path of a volume is
replaced by a folder, because these processes have no file system of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tests.infra.compose import BROKERS, INFRA, entrypoint, health_words, services, words_of
from tests.net.brokers import CLEAN, ROOT
from tests.require import executable, missing

NOT_IN_THE_IMAGE = ("fakeredis", "lupa", "matplotlib", "numpy", "simpy")
YAK = [sys.executable, "-P", "-m", "yak_cli"]


class Containers:
    """A network of services; ``close`` ends all processes and deletes the namespaces."""

    def __init__(self, folder: Path) -> None:
        self.ip = executable("netns", "ip")
        self.folder = folder
        self.services = services()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._after = ExitStack()
        self._tag = f"yak{os.getpid()}"
        self.hosts = folder / "hosts"
        names = ["redis", *BROKERS, "host"]
        self.addresses = {name: f"10.99.0.{at}" for at, name in enumerate(names, 2)}
        self.hosts.write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        )
        missing_modules = folder / "image"
        missing_modules.mkdir()
        for name in NOT_IN_THE_IMAGE:
            (missing_modules / f"{name}.py").write_text(f"raise ImportError('{name}')\n")
        self.path = f"{missing_modules}:{ROOT}"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "yak-ready").symlink_to(INFRA / "yak-ready")
        (bin_folder / "python").symlink_to(sys.executable)
        self.bin = str(bin_folder)

    def make_network(self) -> None:
        """Make the namespaces and their links; skip the test without the right to."""
        if os.geteuid() != 0 or subprocess.run(self._in("bridge", "true"), check=False).returncode:
            missing("netns-root", "this user may not make named network namespaces")
        self._run("bridge", "ip link add br0 type bridge && ip link set br0 up")
        for at, (name, address) in enumerate(self.addresses.items()):
            near, far = f"{self._tag}a{at}", f"{self._tag}b{at}"
            self._call("link", "add", near, "type", "veth", "peer", "name", far)
            self._call("link", "set", near, "netns", self._name("bridge"))
            self._run("bridge", f"ip link set {near} master br0 && ip link set {near} up")
            self._in(name)
            self._call("link", "set", far, "netns", self._name(name))
            self._run(
                name,
                f"ip link set lo up && ip link set {far} name eth0 && ip link set eth0 up "
                f"&& ip address add {address}/24 dev eth0",
            )

    def start(self, name: str) -> None:
        """Start a service with its command and environment."""
        service = self.services[name]
        words = words_of(service["command"])
        if "build" in service:
            assert entrypoint() == ["yak"]
            words = [*YAK, *words]
        env = {key: str(item) for key, item in service.get("environment", {}).items()}
        self._spawn(name, name, words, env)

    def publish(self) -> None:
        """Forward the published ports of the brokers from the loopback of the machine."""
        for name, port in BROKERS.items():
            relay = str(Path(__file__).with_name("relay.py"))
            words = [sys.executable, relay, str(port), name]
            self._spawn(f"relay-{name}", "host", words, {})

    def is_healthy(self, name: str) -> bool:
        """Run the healthcheck of a service."""
        words = self._paths(name, health_words(self.services[name]))
        done = subprocess.run(
            self._inside(name, words), env=self._env({}), capture_output=True, check=False
        )
        return done.returncode == 0

    def on_host(self, *words: str, env: dict[str, str] | None = None, data: str = "") -> str:
        """Run a command on the machine; return its output."""
        program = YAK if words[0] in ("produce", "consume") else []
        done = subprocess.run(
            self._inside("host", [*program, *words]), env=self._env(env or {}), input=data,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self, name: str) -> None:
        """Kill a service with SIGKILL."""
        self.processes[name].kill()
        self.processes[name].wait()

    def output(self, name: str) -> str:
        """Return what a service has printed."""
        return (self.folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End all processes, then delete the namespaces."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._after.close()

    def _spawn(self, key: str, name: str, words: list[str], env: dict[str, str]) -> None:
        log: IO[bytes]
        words = self._paths(name, words)
        env = {key: self._paths(name, [item])[0] for key, item in env.items()}
        with (self.folder / f"{key}.log").open("ab") as log:
            self.processes[key] = subprocess.Popen(
                self._inside(name, words), env=self._env(env), cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _paths(self, name: str, words: list[str]) -> list[str]:
        """Replace the targets of the volumes of a service."""
        data = self.folder / f"{name}-data"
        data.mkdir(exist_ok=True)
        config = self.folder / "redis.conf"
        text = (INFRA / "redis.conf").read_text()
        config.write_text(text.replace("dir /data", f"dir {data}") if name == "redis" else text)
        places = {"/data": str(data), "/etc/yak/redis.conf": str(config)}
        return [places.get(word, word) for word in words]

    def _env(self, env: dict[str, str]) -> dict[str, str]:
        path = f"{self.bin}:{CLEAN['PATH']}"
        return {**CLEAN, "PYTHONPATH": self.path, "PATH": path, **env}

    def _inside(self, name: str, words: Any) -> list[str]:
        mount = f'mount --bind {self.hosts} /etc/hosts && exec "$@"'
        private = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        return [*self._in(name), *private, *words]

    def _name(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def _in(self, name: str, *words: str) -> list[str]:
        """Return the start of a command in a namespace, which is made if it does not exist."""
        full = self._name(name)
        if not Path("/run/netns", full).exists():
            add = subprocess.run([self.ip, "netns", "add", full], capture_output=True, check=False)
            if add.returncode == 0:
                self._after.callback(self._call, "netns", "delete", full)
        return [self.ip, "netns", "exec", full, *words]

    def _run(self, name: str, script: str) -> None:
        subprocess.run(self._in(name, "sh", "-c", script), check=True)

    def _call(self, *words: str) -> None:
        subprocess.run([self.ip, *words], check=True)
