"""The printed answers to the questions of the stretch tasks are true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.lessons import FOLDER, played

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ORACLE_WITHOUT_READS = """
    return set(acked) <= set(log) and len(set(log)) == len(log) and all(
        [record for record in log if record in own] == [record for record in own if record in log]
        for own in sent
    )
"""


def test_one_protocol_dies_only_because_of_what_was_read(tmp_path: Path) -> None:
    """Lesson 11: C. Method: the oracle with all promises but the last one."""
    script = FOLDER / "11_tester.py"
    asked = '"""Return whether a run kept all promises to the clients."""\n'
    line = "    return set(acked) <= set(log)\n"
    names, out = played(script, {asked + line: asked + ORACLE_WITHOUT_READS}, tmp_path)
    assert "5 of 6 protocols are killed. The right protocol is killed: False" in out
    survivors = [
        name
        for name, rules in names["ANONYMOUS_PROTOCOLS"].items()
        if not names["is_killed"](rules, names["aimed"], names["keeps_promises"], 15)
    ]
    assert survivors == ["C"]


def test_a_paused_leader_looks_like_a_dead_one(tmp_path: Path) -> None:
    """Lesson 12: the output is the same with SIGSTOP."""
    script = FOLDER / "12_sockets.py"
    call = "os.kill(pids.pop(killed), signal.SIG"
    names, out = played(script, {f"{call}KILL)": f"{call}STOP)"}, tmp_path)
    assert (len(names["read"]), names["replays"]) == (names["ALL"], [True] * 4)
    assert "real: all six in this order: True, more than 2 s without a leader: True" in out
