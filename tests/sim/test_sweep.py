"""Sweeps: the same output for every number of processes, as a table, CSV and JSON.

Method: a small scenario of a file of its own, by the functions and by the command line.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from yak_cli import main
from yak_sim.search.sweep import Row, combinations, summarise, sweep

SCRIPT = """
from yak_sim import Script, World, scenario, seconds

@scenario(seed=7)
def small(world: World, *, records: int = 3, fails: bool = False) -> Script:
    producer = world.producer(values=records, rate_per_s=100)
    yield world.until(lambda: producer.finished, within=seconds(10))
    world.figure("at_ms", world.now_us // 1000)
    world.expect.that("It is wanted", not fails, expected="a wanted run", happened="another one")
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a scenario file."""
    path = tmp_path_factory.mktemp("scripts") / "small.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


def command(*words: str) -> Result:
    """Run ``yak sim sweep``."""
    return CliRunner().invoke(main, ["sim", "sweep", *words])


def test_each_combination_and_seed_runs_in_order(script: str) -> None:
    """Method: two settings, two seeds, one and two processes."""
    settings = {"records": ["2", "4"], "min_isr": ["1", "3"]}
    rows = sweep(script, settings, range(1, 3))
    order = [(row.settings["records"], row.settings["min_isr"], row.seed) for row in rows]
    assert order == [(r, m, s) for r in ("2", "4") for m in ("1", "3") for s in (1, 2)]
    assert [row.figures["records_acked"] for row in rows] == [2, 2, 2, 2, 4, 4, 4, 4]
    assert all(row.valid is True for row in rows)
    assert sweep(script, settings, range(1, 3), jobs=2) == rows


def test_a_summary_has_medians() -> None:
    """Method: rows by hand; one run ended before it added its figure."""
    rows = [Row({"a": 1}, seed, seed < 4, "", {"x": seed}) for seed in (1, 2, 9)]
    rows.append(Row({"a": 2}, 1, "unknown", "why", {"x": 7, "steps": 5}))
    rows.append(Row({"a": 2}, 2, True, "", {}))
    one, two = summarise(rows)
    assert (one.settings, one.runs, one.valid, one.medians) == ({"a": 1}, 3, 2, {"x": 2})
    assert (two.settings, two.runs, two.valid, two.medians) == ({"a": 2}, 2, 1, {"x": 7})
    assert summarise(rows, ["steps"])[1].medians == {"steps": 5}
    with pytest.raises(ValueError, match=r"'y'.*x, steps"):
        summarise(rows, ["y"])


def test_no_settings_are_one_combination() -> None:
    """Method: an empty table of settings."""
    assert combinations({}) == [{}]


def test_the_table_has_a_row_per_combination(script: str) -> None:
    """Method: the lines of the command."""
    result = command(script, "--set", "records=2,4", "--seeds", "1-2")
    assert result.exit_code == 0, result.output
    head, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head[:2] == ["records", "valid"]
    assert "at_ms" in head
    assert [row[:2] for row in rows] == [["2", "2/2"], ["4", "2/2"]]


def test_csv_and_json_have_a_line_per_run(script: str) -> None:
    """Method: parse both; the verdict decides the exit code."""
    words = (script, "--set", "fails=false,true", "--seeds", "5")
    one = command(*words, "--format", "csv")
    other = command(*words, "--format", "json")
    assert (one.exit_code, other.exit_code) == (1, 1)
    rows = list(csv.DictReader(one.stdout.splitlines()))
    objects = [json.loads(line) for line in other.stdout.splitlines()]
    assert [(row["fails"], row["seed"], row["valid"]) for row in rows] == [
        ("false", "5", "true"),
        ("true", "5", "false"),
    ]
    assert [{name: str(value) for name, value in each.items()} for each in objects] == rows
    assert "small.py:9" in rows[1]["reason"]


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["--set", "records"], "'records'"),
        (["--set", "records=1,,2"], "'records=1,,2'"),
        (["--set", "records=1", "--set", "records=2"], "records"),
        (["--set", "speed=1"], "'speed'"),
        (["--seeds", "5-1"], "'5-1'"),
        (["--seeds", "x"], "'x'"),
        (["--seeds", "1-200000"], "200000"),
        (["--seeds", "1", "--figure", "y"], "'y'"),
    ],
)
def test_a_wrong_sweep_is_refused(script: str, words: list[str], pattern: str) -> None:
    """Method: likely mistakes; exit code 2 and the value in the message."""
    result = command(script, *words)
    assert result.exit_code == 2, result.output
    assert pattern in result.stderr
    assert not result.stdout


def test_a_new_scenario_runs(tmp_path: Path) -> None:
    """Method: write one, run it, run it with another setting; then names that are refused."""
    run = CliRunner().invoke
    made = run(main, ["scenario", "new", "my_first", "--dir", str(tmp_path)])
    assert made.exit_code == 0, made.output
    path = tmp_path / "my_first.py"
    assert str(path) in made.stdout
    for words, folder in (([], "7"), (["--set", "down_ms=500"], "7,down_ms=500")):
        ran = run(main, ["sim", "run", str(path), "--out", str(tmp_path / "out"), *words])
        assert ran.exit_code == 0, ran.output
        assert (tmp_path / "out" / "my_first" / folder / "verdict.json").is_file()
    text = path.read_text(encoding="utf-8")
    for name in ("my_first", "my-first", "class", "leader_failover", "2nd"):
        refused = run(main, ["scenario", "new", name, "--dir", str(tmp_path)])
        assert refused.exit_code == 2
        assert name in refused.stderr
    assert path.read_text(encoding="utf-8") == text
