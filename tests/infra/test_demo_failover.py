"""infra/demo_failover.sh: it asks before it kills, and its verdict is that of the log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.brokers import CLEAN, ROOT
from tests.net.local_cluster import LocalCluster, local_cluster

SCRIPT = ROOT / "infra" / "demo_failover.sh"
YAK = f'#!/bin/sh\nexec {sys.executable} -P -m yak_cli "$@"\n'
# The log that a client reads lacks the record before the last one of the demo.
FORGETFUL = f"""#!/bin/sh
[ "$1" = consume ] || exec {sys.executable} -P -m yak_cli "$@"
{sys.executable} -P -m yak_cli "$@" | sed '/-99$/d'
"""
# The engine: "compose -f FILE kill SERVICE" kills the process of this name.
DOCKER = """#!/bin/sh
[ "$1 $2 $4" = "compose -f kill" ] && [ -f "$3" ] || { echo "docker: unexpected $*" >&2; exit 1; }
exec yak cluster kill "$5"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Yield three running brokers."""
    with local_cluster(tmp_path_factory.mktemp("demo")) as found:
        found.until_in_sync("n1", "n2", "n3")
        yield found


def environment(folder: Path, **programs: str) -> dict[str, str]:
    """Return variables with which the script finds these programs first."""
    for name, text in {"yak": YAK, **programs}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = f"{folder}:{CLEAN['PATH']}"
    return {**CLEAN, "PATH": path, "PYTHONPATH": str(ROOT), "YAK_PROGRAM": "yak"}


def demo(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script without a terminal."""
    return subprocess.run(
        [str(SCRIPT), *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--nonsense"], 2, "--nonsense"),
        (["--count", "ten", "--yes"], 2, "ten"),
        (["--count"], 2, "--count"),
        (["-b", "127.0.0.1:1"], 2, "--yes"),
        (["-b", "127.0.0.1:1", "--yes"], 1, "no leader"),
    ],
)
def test_what_it_refuses(tmp_path: Path, words: list[str], code: int, named: str) -> None:
    """Goal: a sentence and a code; nobody is killed without a terminal to ask on."""
    done = demo(environment(tmp_path), *words)
    assert done.returncode == code, done.stderr
    assert named in done.stderr.splitlines()[-1]


def test_the_help_is_the_head_of_the_script(tmp_path: Path) -> None:
    """Goal: options and exit codes are documented where one looks."""
    done = demo(environment(tmp_path), "--help")
    assert done.returncode == 0
    assert "--yes" in done.stdout
    assert "Exit codes" in done.stdout


def again(cluster: LocalCluster, killed: str) -> None:
    """Start a killed broker, and wait until it is in the ISR."""
    assert cluster.yak("cluster", "restart", killed).returncode == 0
    cluster.until_in_sync("n1", "n2", "n3")


@pytest.mark.long
@pytest.mark.timeout(200)
def test_no_is_no(cluster: LocalCluster, tmp_path: Path) -> None:
    """Goal: the answer of a person counts. Method: "n" on a terminal; the leader stays."""
    before = cluster.describe()
    env = {**environment(tmp_path), "YAK_CLUSTER_FILE": cluster.env["YAK_CLUSTER_FILE"]}
    near, far = pty.openpty()
    with subprocess.Popen(
        [str(SCRIPT)], env=env, stdin=far, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        os.write(near, b"n\n")
        output, _ = process.communicate(timeout=60)
    os.close(near)
    os.close(far)
    assert process.returncode == 3, output
    assert f"kill {before['leader']}?".encode() in output
    after = cluster.describe()
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["of this folder", "compose", "own command"])
def test_a_failover_with_its_verdict(cluster: LocalCluster, tmp_path: Path, way: str) -> None:
    """Goal: the leader is killed, another leads, all records are there once and in order."""
    old = cluster.describe()["leader"]
    env = environment(tmp_path, docker=DOCKER)
    env["YAK_CLUSTER_FILE"] = cluster.env["YAK_CLUSTER_FILE"]
    servers = ["-b", ",".join(cluster.servers().values())]
    words = {
        "of this folder": [],
        "compose": ["--compose", *servers],
        "own command": [*servers, "--kill", "yak cluster kill 'NODE'"],
    }[way]
    done = demo(env, *words, "--count", "120", "--yes")
    assert done.returncode == 0, (done.stdout, done.stderr)
    last = done.stdout.splitlines()[-1]
    assert last == (
        "verdict: nothing is lost: 120 records confirmed, 120 read, in order, each once"
    )
    found = re.search(r"^(n\d) leads after (\d+) ms$", done.stdout, re.MULTILINE)
    assert found is not None
    assert found[1] != old
    assert found[1] == cluster.describe()["leader"]
    assert 500 < int(found[2]) < 30_000
    again(cluster, old)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_lost_record_is_in_the_verdict(cluster: LocalCluster, tmp_path: Path) -> None:
    """Goal: the verdict can be bad. Method: a reader that leaves one record out."""
    old = cluster.describe()["leader"]
    env = environment(tmp_path, yak=FORGETFUL)
    env["YAK_CLUSTER_FILE"] = cluster.env["YAK_CLUSTER_FILE"]
    done = demo(env, "--count", "100", "--yes", "--kill", f"{tmp_path}/yak cluster kill NODE")
    assert done.returncode == 1, done.stdout
    assert "sent 100, read 99" in done.stdout
    assert "missing, repeated or in another order" in done.stdout.splitlines()[-1]
    again(cluster, old)


@pytest.mark.long
@pytest.mark.timeout(100)
def test_a_kill_that_fails_is_unknown(cluster: LocalCluster, tmp_path: Path) -> None:
    """Goal: no verdict about a failover that did not happen."""
    env = environment(tmp_path)
    env["YAK_CLUSTER_FILE"] = cluster.env["YAK_CLUSTER_FILE"]
    done = demo(env, "--count", "10", "--yes", "--kill", "exit 7")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("verdict: unknown")
