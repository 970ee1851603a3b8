"""docs/redis.md: its commands run against a real server, and show what the page says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from docs.tables.runbook import blocks_of
from tests.net.brokers import ROOT, brokers, get, post, until
from tests.net.redis_server import RedisServer, free_port, redis_server
from tests.require import executable

PAGE: Final = (ROOT / "docs" / "redis.md").read_text("utf-8")
COMMANDS: Final = [
    line for kind, body in blocks_of(PAGE) if kind == "sh" for line in body.splitlines()
]
SHOWN: Final = [body for kind, body in blocks_of(PAGE) if kind == "text"]
FIELDS: Final = re.findall(r'^\d*[13579]\) "(.*)"$', SHOWN[0], re.MULTILINE)
"""The fields of the status hash, as the page shows them."""
NODES: Final = ("n1", "n2", "n3")
PATIENCE_S: Final = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Yield the server of three brokers that have three records."""
    folder = tmp_path_factory.mktemp("brokers")
    with redis_server(tcp=True) as found, brokers() as start:
        urls = {node: f"http://127.0.0.1:{free_port()}" for node in NODES}
        listed = ",".join(f"{node}={url}" for node, url in urls.items())
        running = {
            node: start(
                folder / node, "--node-id", node, "--listen", url.removeprefix("http://"),
                "--brokers", listed, "--redis", found.url, "--data-dir", str(folder / f"{node}.d"),
            )
            for node, url in urls.items()
        }  # fmt: skip
        for broker in running.values():
            broker.wait_until_ready()

        def status() -> dict[str, Any]:
            return get(f"{urls['n1']}/v1/cluster")[1]

        until(lambda: len(status()["isr"]) == len(NODES), "all brokers in the ISR")
        records = [{"value": text} for text in "abc"]
        assert post(f"{urls[status()['leader']]}/produce", {"records": records})[0] == 200
        with found.client() as client:
            ends = [f"leo:{node}" for node in NODES]
            until(
                lambda: client.hmget("yak:{yak}:view", "hw", *ends) == [b"3"] * 4,
                "the view of three records",
            )
        yield found


def run(line: str, server: RedisServer) -> str:
    """Run a line of the page against the server; return its output."""
    words = shlex.split(line)
    assert words[0] == "redis-cli"
    words = [executable("redis-server", "redis-cli"), "-p", str(server.port), *words[1:]]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ERR" not in done.stdout
    return done.stdout


def is_state(output: str) -> bool:
    state = json.loads(output)
    return state["isr"] == list(NODES) and state["leader"] in NODES


def leases_grow(output: str) -> bool:
    """Return whether the second look shows a greater counter of each broker."""
    looks = re.findall(r"^(n\d)\n(\d+):(\d+)$", output, re.MULTILINE)
    first, second = dict[str, int](), dict[str, int]()
    for node, _, count in looks:
        (second if node in first else first)[node] = int(count)
    return set(first) == set(NODES) and all(second[node] > first[node] for node in NODES)


CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "--scan": lambda output: sorted(output.split()) == sorted(SHOWN[0].split()[:3]),
    "HGETALL 'yak:{yak}:view'": lambda output: output.split()[::2] == FIELDS,
    "HMGET": lambda output: re.fullmatch(r"n\d\n1\nn1,n2,n3\n3\n", output),
    "HGET 'yak:{yak}:view' leo:n2": lambda output: output == "3\n",
    "-r 3": lambda output: output == "3\n" * 3,
    "version": lambda output: int(output) >= len(NODES),
    "--raw": is_state,
    "-r 2": leases_grow,
    "ACL": lambda output: output == "OK\n",
    "CONFIG SET": lambda output: output == "OK\n",
    "CONFIG GET save": lambda output: output.split("\n")[0] == "save",
}
"""A part of a command -> whether its output is what the page says; the first match counts."""


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_shows_what_the_page_says(line: str, server: RedisServer) -> None:
    output = run(line, server)
    check = next(CHECKS[part] for part in CHECKS if part in line)
    assert check(output), output


def test_each_check_is_of_a_command() -> None:
    for part in CHECKS:
        assert any(part in line for line in COMMANDS), part
    assert len(FIELDS) == 4 + len(NODES)
