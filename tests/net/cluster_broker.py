"""A fake broker: the command line, signals and answers of a broker, without replication.

``FAKE_LEADER`` names the leader (n1), ``FAKE_ISR`` the ISR (the leader alone). ``FAKE_<NODE>``,
such as ``FAKE_N2``, sets a fault: ``refuse`` exits with 2, ``halt`` exits with 1 after the first
request, ``deaf`` ignores SIGTERM, ``mute`` never answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

OPTIONS = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
NODE = OPTIONS["--node-id"]
LEADER = os.environ.get("FAKE_LEADER", "n1")
ISR = os.environ.get("FAKE_ISR", LEADER).split(",")
FAULT = os.environ.get(f"FAKE_{NODE.upper()}", "")


def body_of(path: str) -> dict[str, object]:
    """Return the body of /health or /v1/cluster."""
    role = "leader" if NODE == LEADER else "follower"
    if path == "/health":
        known = {"leader": LEADER, "epoch": 1, "leo": 5, "hw": 4, "isr": ["n1", "n2", "n3"]}
        return {"status": "ok", "node": NODE, "role": role, **known}
    cluster = {"cluster": OPTIONS["--cluster"], "leader": LEADER, "epoch": 1, "isr": ISR}
    return {**cluster, "elr": [], "hw": 4, "version": 2, "brokers": []}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    if FAULT == "halt":
        print("yak broker: halted: FAKE_ variable", file=sys.stderr, flush=True)
        os._exit(1)
    if FAULT == "mute":
        return
    data = json.dumps(body_of(head.split()[1].decode())).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
    )
    await writer.drain()
    writer.close()


async def main() -> int:
    """Serve until SIGTERM or the end of the lifeline."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    lifeline = int(os.environ["YAK_LIFELINE"])

    def on_lifeline() -> None:
        assert not os.read(lifeline, 1)
        loop.remove_reader(lifeline)
        print("the supervisor is gone", flush=True)
        if FAULT != "deaf":
            over.set()

    def on_term() -> None:
        print("stop requested", flush=True)
        if FAULT != "deaf":
            over.set()

    loop.add_reader(lifeline, on_lifeline)
    loop.add_signal_handler(signal.SIGTERM, on_term)
    port = int(OPTIONS["--listen"].rpartition(":")[2])
    reuse = os.environ["YAK_REUSE_PORT"] == "1"
    server = await asyncio.start_server(answer, "127.0.0.1", port, reuse_port=reuse)
    redis = os.environ["YAK_REDIS_URL"]
    print(f"{NODE} serves, metadata {redis}", *sorted(sys.argv[1:]), flush=True)
    await over.wait()
    server.close()
    print(f"{NODE} has stopped", flush=True)
    return 0


if __name__ == "__main__":
    if FAULT == "refuse":
        print("yak broker: cannot be started so", file=sys.stderr)
        sys.exit(2)
    sys.exit(asyncio.run(main()))
