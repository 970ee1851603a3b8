"""The exercises of the lessons: solutions, and wrong rules that a grader must refuse."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.notebooks.lessons import FOLDER

SOLUTIONS = sorted((FOLDER / "solutions").glob("[0-9][0-9]_*.py"))

WRONG: dict[str, tuple[str, ...]] = {
    "02_replication": (
        "return leader_hw",
        "return verified",
        "return hw",
        "return min(leader_hw, verified)",
        "return max(hw, leader_hw)",
        "return max(hw, verified)",
        "return max(hw, leader_hw, verified)",
        "return max(hw, min(leader_hw, verified) - 1)",
    ),
    "03_acks_and_min_isr": (
        "return min(leos[node] for node in isr)",
        "return min(leos.values())",
        "return min(leos.values()) if len(leos) >= min_isr else 0",
        "return min(leos.values()) if len(isr) > min_isr else 0",
        "return sorted(leos.values())[-min_isr] if len(leos) >= min_isr else 0",
        "return max(leos.values()) if len(isr) >= min_isr else 0",
        "return 0",
    ),
    "04_isr": (
        "return match >= hw",
        "return match >= epoch_start",
        "return match >= leo",
        "return match > max(hw, epoch_start)",
        "return match >= min(hw, epoch_start)",
        "return match >= 0",
        "return False",
    ),
    "05_failover": (
        "return lease, lease + renew",
        "return lease - renew, lease + renew + stagger // 2",
        "return lease - renew + down * stagger, lease + renew + down * stagger",
        "return lease - renew + down * stagger, lease + renew + (down + 1) * stagger",
        "return lease - renew + down * stagger, lease + down * stagger + stagger // 2",
        "return lease + down * stagger, lease + renew + down * stagger + stagger // 2",
        "return 0, 10 * lease",
    ),
    "07_divergent_logs": (
        "return min(mine[max(mine)], ask(max(mine))[1])",
        "return mine[max(mine)]",
        "return 0",
        "return min(mine.values())",
        "theirs, end = ask(max(mine))\nreturn min(mine.get(theirs, 0), end)",
        "last, end = ask(max(mine))\nreturn min(max(mine[e] for e in mine if e <= last), end)",
        "return min(ask(max(mine)))",
    ),
    "09_consumers": (
        "return len(lines), saved",
        "return 0, 0",
        "return 0, saved",
        "return len(lines), lines[-1][0] + 1 if lines else 0",
        "return len(lines), max([saved, *(offset + 1 for offset, _ in lines)])",
        "return sum(offset < saved for offset, _ in lines), saved",
        """position = max([0, *(offset + 1 for offset, last in lines if last)])
return sum(offset < position for offset, _ in lines), position""",
        """position = max([saved, *(offset for offset, _ in lines)])
return sum(offset < position for offset, _ in lines), position""",
        """position = max([saved, *(offset + 1 for offset, last in lines if last)])
return sum(offset < position for offset, _ in lines), position""",
        "return len(lines)",
    ),
    "10_disks": (
        "return intact",
        "return intact and same_disk",
        "return intact and same_disk and flush == 'batch'",
        "return intact and same_disk and only_process",
        "return intact and (flush == 'batch' or only_process)",
        "return same_disk and (flush == 'batch' or only_process)",
        "return flush == 'batch' or only_process",
        "return True",
        "return False",
    ),
    "06_zombie_leaders": (
        "return sender == my_leader",
        "return epoch == my_epoch",
        "return epoch > my_epoch",
        "return epoch >= my_epoch and sender == my_leader",
        "return epoch > my_epoch or sender == my_leader",
        "return True",
        "return False",
    ),
    "08_retries": (
        'return "append"',
        'return "duplicate" if (epoch, first, last) in known else "append"',
        'return "append" if first == (known[-1][2] + 1 if known else 0) else "duplicate"',
        'return "append" if not known or first > known[-1][2] else "duplicate"',
        (
            "if known and (epoch, last) <= known[-1][::2]:\n"
            '    return "duplicate"  # even of an older producer epoch\n'
            'return "append" if first == (known[-1][2] + 1 if known else 0) else "refuse"'
        ),
        (
            "if known and epoch < known[-1][0]:\n"
            '    return "refuse"\n'
            'return "append" if not known or first > known[-1][2] else "duplicate"  # gaps'
        ),
    ),
    "11_tester": (
        "return True",
        "return False",
        "return set(acked) == set(log)",
        "return set(acked) <= set(log) and len(log) == len(set(log))",
        "return all(log[offset : offset + 1] == (record,) for offset, record in read)",
        "return all([r for r in log if r in own] == [r for r in own if r in log] for own in sent)",
    ),
    "12_sockets": (
        "return []",
        'return sorted({event[1] for event in events if event[0] == "confirm"})',
    ),
}
"""Bodies of the rule of a lesson, each with a likely mistake."""


def function_of(path: Path) -> str:
    """Return the name of the function that a solution defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return function.name


def source_of(path: Path, name: str) -> str:
    """Return the source of the only function with this name in a file."""
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    [found] = [ast.get_source_segment(text, node) for node in functions if node.name == name]
    assert found is not None
    return found


def solved(solution: Path) -> dict[str, str]:
    """Return the change that puts a solution into its lesson."""
    name = function_of(solution)
    return {source_of(FOLDER / solution.name, name): source_of(solution, name)}


def with_body(solution: Path, body: str) -> dict[str, str]:
    """Return the change that gives the rule of a lesson another body, on lines of its own."""
    given = source_of(FOLDER / solution.name, function_of(solution))
    head, docstring, _ = given.partition('"""\n')
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return {given: head + docstring + lines.rstrip("\n")}
