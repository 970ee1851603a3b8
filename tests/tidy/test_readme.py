"""README.md and docs/demo.md: each command and each program in them works.

tests/scenarios/test_demo_real.py compares the output in docs/demo.md with what the demo prints.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests import require
from tests.net import client_commands
from tests.net.brokers import CLEAN, until
from yak_cli import main
from yak_sim import RunResult

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")

OUTPUTS = re.compile(r"<!-- (demo-[a-z-]+) -->\n```\n(.*?)```\n", re.DOTALL)
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CELLS = re.compile(r"^\|.*\| `([^`]+)` \|$", re.MULTILINE)

ADDRESS = "http://127.0.0.1:8080"
CLUSTER = "test_the_cluster_works"
SIMULATOR = "test_the_simulator_works"
RUN_BY = {
    "./yak demo": "tests/bootstrap",
    "./yak test": "tests/bootstrap",
    "./yak cluster up --detach": CLUSTER,
    "curl http://127.0.0.1:8080/health": CLUSTER,
    "./yak cluster status": CLUSTER,
    "./yak describe": "tests/net/test_observe.py",
    "./yak top": "tests/net/test_top.py",
    "./yak doctor": "tests/net/test_doctor.py",
    "./yak cluster health -w -e": CLUSTER,
    './yak produce --message "Hello YAK"': CLUSTER,
    "./yak consume --from-beginning -e": CLUSTER,
    "./yak produce --count 1000": "tests/net/test_client_verify.py",
    "./yak produce --count 1000 -z gzip": "tests/net/test_compressed_clients.py",
    "./yak consume --from-beginning -e --verify": "tests/net/test_client_verify.py",
    "./yak offsets": "tests/net/test_offsets.py",
    "./yak cluster partition leader": "tests/net/test_cluster_faults.py",
    "./yak cluster heal": "tests/net/test_cluster_faults.py",
    "./yak cluster kill n1": CLUSTER,
    "./yak cluster restart n1": CLUSTER,
    "./yak cluster down": CLUSTER,
    "./yak log verify .yak/data": "tests/net/test_log_files.py",
    "./yak log diff .yak/data/n1 .yak/data/n2": "tests/net/test_log_files_diff.py",
    "./yak cluster down --wipe": CLUSTER,
    "./yak sim list": SIMULATOR,
    "./yak sim run leader_failover --seed 7": SIMULATOR,
    "./yak sim run zombie_leader --seed 7": SIMULATOR,
    "./yak sim run slow_follower --seed 7 --set brokers=5": SIMULATOR,
    "./yak sim digest out/zombie_leader/7/trace.jsonl": SIMULATOR,
    "./yak sim plot out/zombie_leader/7 --from 4s --to 6s": SIMULATOR,
    "./yak sim replay out/zombie_leader/7/trace.jsonl": SIMULATOR,
    "./yak lessons": "tests/notebooks/test_lesson_copies.py",
    "./yak lab 1": "tests/notebooks/test_lab.py",
    ".venv/bin/python notebooks/01_first_plot.py": "tests/notebooks",
    "./yak demo --only simulated": "tests/scenarios/test_demo.py",
    "./yak demo --input FILE": "tests/scenarios/test_demo.py",
    "./yak demo --tamper lost": "tests/scenarios/test_demo.py",
}
"""Each command in README.md and docs/demo.md, in their order, and the test that runs it."""


def programs(page: str) -> list[str]:
    """Return the Python programs in a page."""
    return [text for language, text in BLOCKS.findall(page) if language == "python"]


def shown_output(page: str, name: str) -> str:
    """Return the output that a page shows after the comment ``name``."""
    found: dict[str, str] = dict(OUTPUTS.findall(page))
    return found[name]


def commands(page: str) -> list[str]:
    """Return the commands in the code blocks and tables of a page, in order."""
    rest = OUTPUTS.sub("", page)
    blocks = [match for match in BLOCKS.finditer(rest) if not match[1]]
    found = [(block.start(), line) for block in blocks for line in block[2].splitlines()]
    found += [(m.start(), m[1]) for m in CELLS.finditer(rest)]
    lines = [line.split("   #")[0].strip() for _, line in sorted(found, key=lambda each: each[0])]
    return list(dict.fromkeys(line for line in lines if line))


def is_excerpt(short: str, whole: str) -> bool:
    """Return whether ``short`` is ``whole`` with lines left out at each line ``...``."""
    parts = re.split(r"^\.\.\.\n", short, flags=re.MULTILINE)
    if not (whole.startswith(parts[0]) and whole.endswith(parts[-1])):
        return False
    at = 0
    for part in parts:
        found = ("\n" + whole).find("\n" + part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def test_each_command_is_run_by_a_test() -> None:
    assert list(dict.fromkeys(commands(README) + commands(DEMO))) == list(RUN_BY)


def test_readme_shows_an_excerpt_of_the_output() -> None:
    assert is_excerpt(shown_output(README, "demo-excerpt"), shown_output(DEMO, "demo-output"))


@pytest.mark.parametrize(
    ("short", "accepted"),
    [
        ("a\nb\nc\nd\n", True),
        ("a\n...\nc\nd\n", True),
        ("a\n...\nd\n", True),
        ("a\nc\n...\nd\n", False),
        ("a\n...\nc\n...\nb\n...\nd\n", False),
        ("b\n...\nd\n", False),
        ("a\n...\nc\n", False),
        ("a\n...\nx\n...\nd\n", False),
    ],
)
def test_a_changed_excerpt_is_noticed(short: str, accepted: bool) -> None:
    assert is_excerpt(short, "a\nb\nc\nd\n") is accepted


def test_the_simulator_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of the simulator one after the other, then the programs of README."""
    monkeypatch.chdir(tmp_path)
    for line in (line for line, test in RUN_BY.items() if test == SIMULATOR):
        ran = CliRunner().invoke(main, line.split()[1:])
        assert ran.exit_code == 0, f"{line}: {ran.output}"
    program = programs(README)[1]
    Path("my_scenario.py").write_text(program, encoding="utf-8")
    ran = CliRunner().invoke(main, ["sim", "run", "my_scenario.py"])
    assert ran.exit_code == 0, ran.output
    assert list(Path("out").glob("crash_the_leader/7/*.png"))
    broken: dict[str, RunResult] = {}
    exec(programs(README)[2], broken)
    assert not broken["result"].valid
    assert "NoCutBelowCommitted" in broken["result"].reason


def test_the_cluster_works(tmp_path: Path) -> None:
    """Run the commands of a cluster in their order, and the program of README before the kill.

    The ports are free ones, since another program may use 8080. The commands for curl that
    ``cluster up`` prints are run, too. Commands that use files of the current folder are started in
    one; the others find the cluster through its state file.
    """
    require.executable("curl")
    tried = re.compile(r"^try: (curl .*)$", re.MULTILINE)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            words, cwd=tmp_path, env={**CLEAN, "YAK_PORT": "0"}, capture_output=True, text=True,
            timeout=90, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
        return ran

    def run(*words: str) -> str:
        return command(sys.executable, *words).stdout

    def yak(*words: str) -> tuple[str, str]:
        """Run a command that succeeds; return standard output and error."""
        if words[:2] in (("cluster", "up"), ("cluster", "down")):
            ran = command(sys.executable, "-m", "yak_cli", *words)
            return ran.stdout, ran.stderr
        state = str(tmp_path / ".yak" / "cluster.json")
        done = client_commands.yak(*words, env={"YAK_CLUSTER_FILE": state})
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def curl(line: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command("sh", "-c", line).stdout)
        return found

    def is_ok(line: str) -> bool:
        found = curl(line)
        return (found["node"], found["status"]) == ("n1", "ok")

    curls: list[str] = []
    try:
        for line in (line for line, test in RUN_BY.items() if test == CLUSTER):
            if line.startswith("curl"):
                brokers = json.loads(yak("cluster", "status", "--json")[0])["brokers"]
                ask = line.replace(ADDRESS, brokers[0]["url"])
                # A machine with other work can delay messages for longer than a broker expects.
                until(partial(is_ok, ask), "n1 is ok")
                continue
            if line.startswith("./yak cluster kill"):
                assert run("-c", programs(README)[0]) == "offset 1\nb'Hello YAK'\n"
                health, produced, fetched = map(curl, curls)
                assert (health["node"], produced["base_offset"]) == ("n1", 2)
                assert [each["value"] for each in fetched["records"]][2:] == ["hello"]
            out, err = yak(*shlex.split(line)[1:])
            curls = curls or tried.findall(err)
            if line.startswith("./yak consume"):
                assert out == "Hello YAK\n"
    finally:
        yak("cluster", "down")
