"""The exercises of the lessons: the solution passes, and each likely mistake fails twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.exercises import SOLUTIONS, WRONG, function_of, solved, source_of, with_body
from tests.notebooks.lessons import FOLDER, notebook_of, played, printed

IN_COMMIT_TIER = ("02_replication",)


def tier(solution: Path) -> tuple[pytest.MarkDecorator, ...]:
    """Return the marks of a solution: long, but for a sample."""
    return () if solution.stem in IN_COMMIT_TIER else (pytest.mark.long,)


each = pytest.mark.parametrize(
    "solution", [pytest.param(path, id=path.stem, marks=tier(path)) for path in SOLUTIONS]
)


def test_there_are_solutions() -> None:
    """The tests below have exercises. Method: find the first one, and its wrong rules."""
    assert "02_replication" in WRONG
    assert sorted(WRONG) == [path.stem for path in SOLUTIONS]


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: str(path.stem))
def test_the_given_rule_fails(solution: Path) -> None:
    """A student has something to do. Method: the saved output of the lesson."""
    notebook = notebook_of(FOLDER / solution.name)
    assert "Passed: False\n" in printed(notebook)
    assert "Passed: True" not in printed(notebook)


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda path: str(path.stem))
def test_the_solution_is_not_in_the_lesson(solution: Path) -> None:
    """Method: look for the lines of the solution in script and notebook."""
    rule = source_of(solution, function_of(solution)).partition('"""\n')[2]
    lesson = FOLDER / solution.name
    for path in (lesson, lesson.with_suffix(".ipynb")):
        assert rule.strip() not in path.read_text(encoding="utf-8")


@pytest.mark.timeout(300)
@each
def test_the_solution_passes(solution: Path, tmp_path: Path) -> None:
    """The exercise can be solved, and the cluster agrees. Method: the lesson with the solution."""
    names, output = played(FOLDER / solution.name, solved(solution), tmp_path)
    assert names["passed"] is True
    assert names["agrees"] is True
    assert "Passed: True\n" in output


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("solution", "body"),
    [
        pytest.param(path, body, id=f"{path.stem}-{number}")
        for path in SOLUTIONS
        for number, body in enumerate(WRONG[path.stem])
    ],
)
def test_a_wrong_rule_fails_in_both_parts(solution: Path, body: str, tmp_path: Path) -> None:
    """Grader and cluster agree on a mistake. Method: the lesson with a likely wrong rule."""
    names, output = played(FOLDER / solution.name, with_body(solution, body), tmp_path)
    assert names["passed"] is False
    assert names["agrees"] is False
    assert "Passed: False\n" in output
