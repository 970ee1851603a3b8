"""``yak sim`` with valid input: output, files and exit codes."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.scenarios.scenario_runs import NAMES, command, last_lines, load, run
from tests.tidy.tree import ROOT
from yak_cli import main
from yak_core.trace.reader import digest_of
from yak_sim.run.catalog import Catalog
from yak_sim.run.run_folder import FILES

SPOTS = 60


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sim_run(*words: str) -> Result:
    """Run ``yak sim run`` in this process."""
    return CliRunner().invoke(main, ["sim", "run", *words])


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run leader_failover with seed 7; return (its folder, the printed text)."""
    out = tmp_path_factory.mktemp("seven")
    with contextlib.chdir(out):
        ran = sim_run("leader_failover", "--seed", "7")
    assert (ran.exit_code, ran.stderr) == (0, "")
    return out / "out" / "leader_failover" / "7", ran.stdout


def test_a_scenario_as_a_program_prints_the_same(
    seven: tuple[Path, str], tmp_path: Path
) -> None:
    """Goal: `python scenarios/NAME.py` is `yak sim run NAME`.

    Method: another hash seed, and the drawing backend of a notebook, which is not installed here.
    """
    folder, printed = seven
    program = command(
        ROOT / "scenarios" / "leader_failover.py", "--seed", "7",
        folder=tmp_path, environment={"PYTHONHASHSEED": "0", "MPLBACKEND": "not-installed"},
    )  # fmt: skip
    assert (program.returncode, program.stderr) == (0, "")
    assert program.stdout == printed
    digest, valid = last_lines(printed)
    assert valid == "valid: true"
    assert digest == digest_of(run("leader_failover", 7).trace)
    for name in FILES:
        again = tmp_path / "out" / "leader_failover" / "7" / name
        assert again.read_bytes() == (folder / name).read_bytes(), name
    for name in NAMES:
        source = (ROOT / "scenarios" / f"{name}.py").read_text(encoding="utf-8")
        assert source.endswith(f'if __name__ == "__main__":\n    run_as_script({name})\n')


def test_a_valid_backend_is_kept_for_the_notebook(tmp_path: Path) -> None:
    """Goal: drawing a plot does not change what a notebook draws with. Method: set svg."""
    code = (
        "from yak_sim.plot.rendering import _matplotlib\n"
        "import os\nprint(_matplotlib().get_backend(), os.environ['MPLBACKEND'])"
    )
    ran = command("-c", code, folder=tmp_path, environment={"MPLBACKEND": "svg"})
    assert (ran.stdout, ran.stderr) == ("svg svg\n", "")


def test_the_digest_of_the_file_is_the_one_printed(seven: tuple[Path, str]) -> None:
    """Method: recompute the digest from the file, and from the folder."""
    folder, printed = seven
    digest, _ = last_lines(printed)
    for path in (folder / "trace.jsonl", folder, folder.parent / "latest"):
        ran = CliRunner().invoke(main, ["sim", "digest", str(path)])
        assert (ran.exit_code, ran.stdout) == (0, f"digest: {digest}\n")


@pytest.mark.parametrize("part", range(4))
def test_one_changed_byte_is_reported_with_its_record(
    seven: tuple[Path, str], tmp_path: Path, part: int
) -> None:
    """Goal: any damage is reported. Method: flip bits at many positions and both ends."""
    content = (seven[0] / "trace.jsonl").read_bytes()
    draw = random.Random(part)
    spots = [draw.randrange(len(content)) for _ in range(SPOTS // 4)]
    first, last = content.index(b"\n"), content.rindex(b"\n", 0, -1)
    spots += [[0, first - 1], [first, first + 1], [last, last + 1], [len(content) - 2, -1]][part]
    damaged = tmp_path / "damaged.jsonl"
    for spot in spots:
        changed = bytearray(content)
        changed[spot] ^= 1 << draw.randrange(8)
        damaged.write_bytes(changed)
        ran = CliRunner().invoke(main, ["sim", "digest", str(damaged)])
        at = spot % len(content)
        line = content.count(b"\n", 0, at) + 1
        assert ran.exit_code == 1, (spot, ran.output)
        assert ran.stdout == ""
        assert "damaged.jsonl: " in ran.stderr
        assert f"line {line} " in ran.stderr, (spot, ran.stderr)
        assert line == 1 or f"(record {line - 1}, after " in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_the_narrative_is_printed_line_by_line(seven: tuple[Path, str]) -> None:
    """Goal: time, event, leader, epoch, HW in each line. Method: compare with the narrative."""
    narrative = [str(line) for line in run("leader_failover", 7).narrative]
    lines = seven[1].splitlines()
    assert lines[: len(narrative)] == narrative
    assert lines[len(narrative)].endswith(f" {Path('out', 'leader_failover', '7')}")
    assert all(line.startswith("proved: ") for line in lines[len(narrative) + 1 : -2])
    for pattern in (r"n1 crashed, 2 .*\[no leader", r" elected .*\b2, .*\b30 \[leader "):
        assert any(re.search(pattern, line) for line in narrative)


def test_the_run_folder_is_whole(seven: tuple[Path, str]) -> None:
    """Goal: exactly the files of formats.md. Method: list and open them."""
    folder, printed = seven
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert (verdict["scenario"], verdict["seed"], verdict["valid"]) == ("leader_failover", 7, True)
    assert verdict["digest"] == last_lines(printed)[0]
    assert verdict["violations"] == []
    assert verdict["figures"]["records_acked"] == 60
    assert (folder / "watermarks.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / "watermarks.svg").read_bytes()
    assert (folder.parent / "latest").readlink() == Path("7")


@pytest.mark.usefixtures("_elsewhere")
def test_the_replay_line_repeats_the_run() -> None:
    """Method: run the first line of replay.txt with settings and an input."""
    Path("my lines.txt").write_bytes(b"a\n\nb'\n")
    settings = ["--set", "min_isr=1", "--set", "brokers=4", "--input", "my lines.txt"]
    ran = sim_run("zombie_leader", "--seed", "5", *settings)
    assert ran.exit_code == 0, ran.output
    lines = Path("out/zombie_leader/latest/replay.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == [f"# {line}" for line in ran.stdout.splitlines()[-2:]]
    again = CliRunner().invoke(main, shlex.split(lines[0])[1:])
    assert (again.exit_code, again.stdout) == (0, ran.stdout)


@pytest.mark.usefixtures("_elsewhere")
def test_a_scenario_is_found_by_path() -> None:
    """Goal: path.py[:name], in any thread. Method: a file of the project, and a renamed copy."""
    source = ROOT / "scenarios" / "leader_failover.py"
    digest = digest_of(run("leader_failover", 7).trace)
    for word in (str(source), f"{source}:leader_failover"):
        assert Catalog().load(word).name == "leader_failover"
    renamed = Path("mine.py")
    renamed.write_bytes(source.read_bytes())
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(sim_run, "mine.py", "--seed", "7").result()
    assert last_lines(ran.stdout)[0] == digest
    assert Path("out/leader_failover/7/verdict.json").is_file()


@pytest.mark.usefixtures("_elsewhere")
def test_settings_reach_the_run() -> None:
    """Method: `--set` of five brokers and a shorter lease."""
    ran = sim_run("leader_failover", "--set", "brokers=5", "--set", "lease_us=1500000")
    assert ran.exit_code == 0, ran.output
    assert re.search("proved: .*converge.*n1, n2, n3, n4, n5", ran.stdout)
    crashed, elected = (
        next(line for line in ran.stdout.splitlines() if word in line)
        for word in (" crashed", "epoch 2")
    )
    took = float(elected[2:].split("s ")[0]) - float(crashed[2:].split("s ")[0])
    assert 1.0 < took < 2.5


def test_the_list_has_all_scenarios() -> None:
    """Method: compare with the scenarios, the first lines of their texts and their settings."""
    ran = CliRunner().invoke(main, ["sim", "list"])
    assert ran.exit_code == 0
    rows = [line.split(None, 1) for line in ran.stdout.splitlines()]
    expected = []
    for name in NAMES:
        expected.append([name, load(name).text.splitlines()[0]])
        settings = load(name).parameters.items()
        expected += [["--set", f"{setting}={default}"] for setting, default in settings]
    assert rows == expected


@pytest.mark.parametrize(
    "words",
    ["--help", "sim --help", "sim run --help", "sim digest -h", "sim list -h", "demo -h"],
)
def test_help_is_there(words: str) -> None:
    """Method: the help of each command."""
    ran = CliRunner().invoke(main, words.split())
    assert ran.exit_code == 0
    assert ran.stdout.startswith("Usage: ")
    assert len(ran.stdout.splitlines()) > 4
