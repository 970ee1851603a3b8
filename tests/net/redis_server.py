"""A real redis-server for tests: start, pause, kill, restart with its data, stop.

It runs in a temporary folder and listens on a socket there (``tcp=True``: on a free port as well).
It writes every change to disk (appendonly, appendfsync always) unless ``options`` change that.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.net.certificates import Certificates
from tests.require import executable

READY = "ready to accept connections"
IN_USE = "address already in use"
PATIENCE_S = 30.0
PORTS_TRIED = 5


def free_port() -> int:
    """Return a free port; redis-server cannot choose one by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class RedisServer:
    """One server; ``url`` names its socket, or its port with ``tcp``, and never changes.

    ``options`` are redis-server's own, such as ``("--requirepass", "secret")``. ``program`` is
    another server, such as Valkey. With ``tls``, the port requires TLS and a client certificate.
    """

    def __init__(
        self,
        folder: Path,
        options: tuple[str, ...] = (),
        tcp: bool = False,
        program: str = "",
        tls: Certificates | None = None,
    ) -> None:
        self.program = program or executable("redis-server")
        self.folder = folder
        self.options = options
        self.tcp = tcp
        self.tls = tls
        self.port = 0
        self.socket = folder / "redis.sock"
        self.lines: deque[str] = deque(maxlen=200)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._told = threading.Event()

    @property
    def url(self) -> str:
        if not self.tcp:
            return f"unix://{self.socket}"
        if self.tls is None:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"rediss://127.0.0.1:{self.port}/0?{self.tls.options()}"

    def start(self) -> None:
        """Start on the existing data, if any; return once it accepts connections."""
        assert self._process is None
        wanted = self.port
        for _ in range(PORTS_TRIED):
            self.port = wanted or (free_port() if self.tcp else 0)
            if self._launch():
                return
            self._end(signal.SIGKILL)
            if not any(IN_USE in line.lower() for line in self.lines):
                break
        pytest.fail(f"redis-server did not start: {' '.join(self.lines)}")

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open and get no replies."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL; the data stays for the next ``start``."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL after a timeout."""
        self._end(signal.SIGTERM)

    def wipe(self) -> None:
        """Delete all data of a stopped server."""
        assert self._process is None
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Yield a client without retries, on the socket and without a login."""
        client = redis.Redis(
            unix_socket_path=str(self.socket),
            retry=Retry(NoBackoff(), 0),
            socket_timeout=PATIENCE_S,
            protocol=2,
        )
        with client:
            yield client

    def _launch(self) -> bool:
        self._told.clear()
        self.lines.clear()
        command = [self.program, "--bind", "127.0.0.1"]
        if self.tls is None:
            command += ["--port", str(self.port)]
        else:
            command += ["--port", "0", "--tls-port", str(self.port), *self.tls.server_options()]
        command += ["--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", *self.options]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        self._told.wait(PATIENCE_S)
        return any(READY in line.lower() for line in self.lines)

    def _read(self, output: IO[str]) -> None:
        """Keep the newest lines and drain the pipe until the process ends."""
        for line in output:
            self.lines.append(line.rstrip())
            if READY in line.lower():
                self._told.set()
        self._told.set()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        assert self._reader is not None
        self._process.send_signal(number)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@contextmanager
def redis_server(
    *options: str, tcp: bool = False, tls: Certificates | None = None
) -> Iterator[RedisServer]:
    """Yield a started server in its own folder; kill it at the end."""
    with tempfile.TemporaryDirectory(prefix="yak-redis-") as folder:
        server = RedisServer(Path(folder), options, tcp or tls is not None, tls=tls)
        try:
            server.start()
            yield server
        finally:
            server.kill()
