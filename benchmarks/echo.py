"""A bare echo over three processes: what the network of a machine costs without a protocol.

The client sends a message to the first process, which passes it on to the second, and that one to
the third; the answer comes back the same way. All use asyncio streams on loopback. Its latency
at a slow pace, over that back to back, shows what waking up processes costs here.

``python -m benchmarks.echo [PORT]`` is one process: it echoes, or passes on to ``PORT``. It prints
its own port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from benchmarks.procs import Latencies, Meter
from benchmarks.servers import HOST, module_command

PROCESSES: Final = 3
MESSAGE_BYTES: Final = 100
END_S: Final = 5.0


async def serve(next_port: int | None) -> None:
    """Echo messages, or pass them on and return the answers, until standard input ends."""

    answering: dict[asyncio.Task[object], asyncio.StreamWriter] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering[task] = writer
        onward = None if next_port is None else await asyncio.open_connection(HOST, next_port)
        # Both are how a client leaves.
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await reader.readexactly(MESSAGE_BYTES)
                if onward is not None:
                    onward[1].write(message)
                    message = await onward[0].readexactly(MESSAGE_BYTES)
                writer.write(message)
        writer.close()
        if onward is not None:
            onward[1].close()
        del answering[task]

    server = await asyncio.start_server(answer, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()
    for writer in answering.values():
        writer.transport.abort()
    if answering:
        await asyncio.wait(answering)


@contextmanager
def chain() -> Iterator[tuple[int, tuple[int, ...]]]:
    """Run the processes; yield the port of the first and all process ids."""
    running: list[subprocess.Popen[str]] = []
    try:
        port = ""
        for _ in range(PROCESSES):
            process = subprocess.Popen(
                [*module_command("benchmarks.echo"), *([port] if port else [])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            running.append(process)
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("an echo process did not start")
        yield int(port), tuple(process.pid for process in running)
    finally:
        for process in reversed(running):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)


async def latencies(
    port: int, pids: tuple[int, ...], seconds: float, every_s: float = 0.0
) -> Latencies:
    """Measure the latency with one message in flight; one is sent every ``every_s`` seconds."""
    message = bytes(MESSAGE_BYTES)
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies_s: list[float] = []
    try:
        writer.write(message)
        await reader.readexactly(MESSAGE_BYTES)
        meter = Meter(pids)
        until = time.perf_counter() + seconds
        while not latencies_s or time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(message)
            await reader.readexactly(MESSAGE_BYTES)
            latencies_s.append(time.perf_counter() - began)
            await asyncio.sleep(max(0.0, began + every_s - time.perf_counter()))
        return Latencies(tuple(latencies_s), meter.stop())
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if sys.argv[1:] else None))
