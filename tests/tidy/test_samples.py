"""Each tidy rule rejects its bad samples and accepts similar good ones.

A sample is (rule, path, bad text, good text). Words that the rules reject in any text are split
here, so that this file passes them itself.
"""

from __future__ import annotations

import pytest

from tests.tidy import habits, imports, rooms, rules, sets
from tests.tidy.habits import LINES_WARN, is_long
from tests.tidy.tree import Source

CORE, SIM, NET = "yak_core/a.py", "yak_sim/a.py", "yak_net/a.py"
SCENARIO, TEST = "scenarios/a.py", "tests/core/test_a.py"
TO_DO, HOME = "TO" + "DO", "/ho" + "me/ann/yak"
LONG = "def f() -> None:\n" + "    g()\n" * 70
CHECKED = "def helper(x):\n    assert x\n\ndef test_a():\n    helper(1)\n"

SAMPLES = [
    (imports.arrows, CORE, "import yak_sim", "import yak_core.ids"),
    (imports.arrows, CORE, "def f():\n    from yak_net import a", "from yak_core.log import index"),
    (imports.arrows, SIM, "from yak_net.storage import log", "from yak_core import batch"),
    (imports.arrows, SIM, "from scenarios import zombie", "import simpy, prometheus_client"),
    (imports.arrows, SIM, "import numpy", "import json"),
    (imports.arrows, SIM, "import tests.tidy", "from .network import Link"),
    (imports.arrows, NET, "import yak_sim.physics.network", "import aiohttp, redis, yak_core"),
    (imports.arrows, "yak_cli.py", "import notebooks", "import click, yak_sim"),
    (imports.arrows, "yak", "import click", "import subprocess"),
    (imports.purity, CORE, "import random", "import heapq"),
    (imports.purity, CORE, "from os.path import join", "from posixpath import join"),
    (imports.purity, CORE, "def f():\n    import time", "from crc32c import crc32c"),
    (imports.purity, CORE, "import simpy", "from dataclasses import dataclass"),
    (imports.purity, CORE, "def f():\n    print(1)", "def f(out):\n    out.print(1)"),
    (imports.purity, CORE, "async def f():\n    pass", "def f():\n    pass"),
    (imports.purity, CORE, "import datetime as d", "import decimal as d"),
    (imports.public_api, SCENARIO, "from yak_sim.physics.network import Link", "import heapq"),
    (imports.public_api, SCENARIO, "import yak_core.replica", "import yak_core"),
    (imports.public_api, SCENARIO, "from yak_core import no_such_name", "from scenarios import a"),
    (imports.public_api, SCENARIO, "import yak_sim\nyak_sim.no_such_name()", "import yak_sim"),
    (imports.public_api, "notebooks/1.py", "from yak_net.server import app", "import matplotlib"),
    (
        rooms.upward_arrows,
        "yak_core/log/a.py",
        "from yak_core.broker import roles",
        "from yak_core.ids import Epoch",
    ),
    (
        rooms.upward_arrows,
        "yak_core/rules.py",
        "if TYPE_CHECKING:\n    from yak_core.broker.roles import Broker",
        "from yak_core.contract.messages import Replicate",
    ),
    (
        rooms.upward_arrows,
        "yak_sim/physics/a.py",
        "def f():\n    import_module('yak_sim.run.replay')",
        "def f():\n    import_module('json')",
    ),
    (
        rooms.own_front_doors,
        "yak_core/batch/header.py",
        "from yak_core.batch import Record",
        "from yak_core.batch import records",
    ),
    (
        rooms.own_front_doors,
        "yak_core/log/a.py",
        "import yak_core",
        "from yak_core.batch import Batch",
    ),
    (sets.iterated_sets, CORE, "for x in {1, 2}: f(x)", "for x in sorted({1, 2}): f(x)"),
    (sets.iterated_sets, CORE, "y = [x for x in set(z)]", "y = [x for x in z if x in set(z)]"),
    (sets.iterated_sets, CORE, "def f(a: set[int]): return list(a)", "y = len(set(z))"),
    (sets.iterated_sets, CORE, "a: frozenset[int]\nf(*a)", "a: tuple[frozenset[int]]\nf(*a)"),
    (sets.iterated_sets, CORE, "self.a = set()\nself.a.pop()", "self.a = []\nself.a.pop()"),
    (sets.iterated_sets, CORE, "tuple(a.keys() - b)", "tuple(a.keys())"),
    (sets.iterated_sets, CORE, "def s() -> set[int]: ...\niter(s())", "iter(s())"),
    (sets.iterated_sets, CORE, "','.join({a} | b)", "','.join(sorted({a} | b))"),
    (habits.sizes, SIM, "x = '" + "a" * 96 + "'", "x = '" + "a" * 94 + "'"),
    (habits.sizes, SIM, "x = 1\n" * 501, "x = 1\n" * 500),
    (habits.sizes, SIM, LONG, LONG[: -len("    g()\n")]),
    (habits.sizes, "yak", "x = 1\n" * 501, "x = 1  # " + "a" * 90),
    (habits.opening, CORE, "import heapq", '"""Owns a."""'),
    (habits.opening, TEST, "import pytest", '"""Tests a."""'),
    (habits.swallowed, SIM, "try: f()\nexcept E: pass", "try: f()\nexcept E: g()"),
    (habits.swallowed, TEST, "try: f()\nexcept E: ...", "try: f()\nexcept E:\n  raise"),
    (habits.swallowed, SIM, "try: f()\nexcept: g()", "try: f()\nfinally: g()"),
    (habits.swallowed, SIM, "with suppress(Exception): f()", "with suppress(KeyError): f()"),
    (habits.unfinished, SIM, f"x = 1  # {TO_DO}: more", "x = 1  # methodology"),
    (habits.unfinished, NET, "raise NotImplemented" + "Error", "return NotImplemented"),
    (habits.unfinished, "yak", f"# {TO_DO}", "# done"),
    (habits.home_paths, "docs/a.md", f"see {HOME}/x", "see /var/lib/yak and https://a.b/home/c/"),
    (habits.home_paths, TEST, "x = '/ro" + "ot/y'", "x = 'a/root/y'"),
    (habits.skips, TEST, "import pytest\npytest.skip('no redis')", "log.skip(2)"),
    (habits.skips, TEST, "@pytest.mark.skipif(a, reason='b')\ndef test_a(): ...", "import pytest"),
    (habits.skips, TEST, "r = pytest.importorskip('redis')", "missing('redis', 'none here')"),
    (habits.skips, TEST, "@pytest.mark.xfail()\ndef f(): ...", "pytest.mark.xfail(reason='a')"),
    (habits.skips, TEST, "import time\ntime.sleep(1)", "import time\ntime.monotonic()"),
    (habits.checkless, TEST, "def test_a():\n    f()", "def test_a():\n    assert f()"),
    (habits.checkless, TEST, "def test_a():\n    assert True", CHECKED),
    (habits.checkless, TEST, "class A:\n    def test_a(self): x = 1", "def build(): f()"),
    (habits.checkless, TEST, "def test_a(): run(check=False)", "def test_a(): run(check=True)"),
    (
        habits.checkless,
        TEST,
        "from tests.tidy.tree import sources\ndef test_a(): sources()",
        "from tests.require import missing\ndef test_a(): missing('a', 'b')",
    ),
    (
        habits.checkless,
        TEST,
        "def test_a():\n    with open(x): f()",
        "def test_a():\n    with pytest.raises(E): f()",
    ),
]


@pytest.mark.parametrize(
    ("rule", "path", "bad", "good"),
    SAMPLES,
    ids=[f"{sample[0].__name__}-{number}" for number, sample in enumerate(SAMPLES)],
)
def test_a_rule_rejects_bad_samples_only(rule: rules.Rule, path: str, bad: str, good: str) -> None:
    """Method: one bad and one good sample."""
    assert len(rule(Source(path, bad))) >= 1
    assert rule(Source(path, good)) == []


def test_every_rule_has_samples() -> None:
    """Method: compare the list of rules with the samples."""
    assert {rule for rule, *_ in SAMPLES} == set(rules.ALL)


def test_a_fault_has_path_and_line() -> None:
    """A fault has path and line. Method: a fault on the third line."""
    [fault] = habits.swallowed(Source(SIM, "\ntry: f()\nexcept E: pass"))
    assert fault.startswith("yak_sim/a.py:3: ")


def test_rules_of_the_core_apply_to_the_core_only() -> None:
    """Method: the core's faults in other packages."""
    text = "import random, asyncio\nfor x in {1}: print(x)"
    assert imports.purity(Source(SIM, text)) == []
    assert sets.iterated_sets(Source(SIM, text)) == []
    assert habits.unfinished(Source("docs/a.md", TO_DO)) == []


@pytest.mark.parametrize("name", ["scenarios/a.txt", "yak_core/a.lua", "notebooks/1.ipynb"])
def test_text_is_not_read_as_python(name: str) -> None:
    """Method: a text file that is not Python, for each rule."""
    assert [fault for rule in rules.ALL for fault in rule(Source(name, "a log is: a list"))] == []


CIRCLES = [
    ("import yak_sim.b", "import yak_sim.a", "import yak_sim.c"),
    ("from yak_sim import b", "def f():\n    from yak_sim.a import g", "from yak_sim import c"),
    ("import_module('yak_sim.b')", "from yak_sim.a import x", "x = 'yak_sim.a'"),
]


@pytest.mark.parametrize(("one", "circular", "straight"), CIRCLES)
def test_a_circle_of_imports_is_found(one: str, circular: str, straight: str) -> None:
    """Method: each form of import between two modules, with and without a circle."""

    def found(other: str) -> list[str]:
        files = {"yak_sim/a.py": one, "yak_sim/b.py": other, "yak_sim/c.py": ""}
        return rooms.circles([Source(name, text) for name, text in files.items()])

    assert len(found(circular)) == 1
    assert found(straight) == []


@pytest.mark.parametrize("name", ["yak_sim/attic/a.py", "yak_net/attic.py", "yak_core/b/c.py"])
def test_an_unknown_room_is_a_fault(name: str) -> None:
    """Method: files in folders that are not listed."""
    [fault] = rooms.upward_arrows(Source(name, "import json"))
    assert fault.startswith(f"{name}:1: ")


def test_a_longer_circle_is_one_fault() -> None:
    """Method: three modules in a circle and one outside."""
    ring = {"a": "b", "b": "c", "c": "a", "d": "a"}
    sources = [Source(f"yak_net/{one}.py", f"import yak_net.{two}") for one, two in ring.items()]
    [fault] = rooms.circles(sources)
    assert "yak_net.d" not in fault


def test_a_long_file_warns_before_it_fails() -> None:
    """Method: a file of the warning's size, and one line more."""
    assert not is_long(Source(SIM, "x = 1\n" * LINES_WARN))
    assert is_long(Source(SIM, "x = 1\n" * (LINES_WARN + 1)))
    assert habits.sizes(Source(SIM, "x = 1\n" * (LINES_WARN + 1))) == []
