"""A stand-in for a broker: the same command line, signals and answers, and no protocol at all.

``FAKE_LEADER`` says who leads (n1). ``FAKE_<NODE>``, such as ``FAKE_N2``, makes one misbehave:
``refuse`` ends with a sentence and 2, ``halt`` ends with 1 once it was asked, ``deaf`` stops for
nothing, ``mute`` never answers.
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
MANNER = os.environ.get(f"FAKE_{NODE.upper()}", "")


def body_of(path: str) -> dict[str, object]:
    """What a broker says of itself, or of the cluster."""
    role = "leader" if NODE == LEADER else "follower"
    if path == "/health":
        known = {"leader": LEADER, "epoch": 1, "leo": 5, "hw": 4, "isr": ["n1", "n2", "n3"]}
        return {"status": "ok", "node": NODE, "role": role, **known}
    cluster = {"cluster": OPTIONS["--cluster"], "leader": LEADER, "epoch": 1, "isr": [LEADER]}
    return {**cluster, "elr": [], "hw": 4, "version": 2, "brokers": []}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one answer, and the connection is closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    if MANNER == "halt":
        print("yak broker: halted: it was told to", file=sys.stderr, flush=True)
        os._exit(1)
    if MANNER == "mute":
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
        if MANNER != "deaf":
            over.set()

    def on_term() -> None:
        print("stop requested", flush=True)
        if MANNER != "deaf":
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
    if MANNER == "refuse":
        print("yak broker: cannot be started so", file=sys.stderr)
        sys.exit(2)
    sys.exit(asyncio.run(main()))
