"""Imports at start-up, and the core with frozen values.

The imports are checked in a separate process, since this one has imported everything.
"""

from __future__ import annotations

import pytest

import yak_net
from tests.scenarios.scenario_runs import command
from tests.tidy.tree import ROOT, sources

HEAVY = ("aiohttp", "matplotlib", "numpy", "redis", "simpy")


PLAY_A_FEW = """
from tests.golden.test_rules_matter import SCRIPTS, played, script
from yak_core.rules import Rules
for path in sorted(SCRIPTS.glob("*.golden"))[::8]:
    wanted = script(path.stem)
    assert played(wanted, Rules()) == [list(block.expected) for block in wanted.blocks]
"""


def loaded(code: str) -> set[str]:
    """Return the heavy modules that ``code`` loads."""
    report = f"{code}\nimport sys; print('loaded', *(m for m in {HEAVY} if m in sys.modules))"
    done = command("-c", report, folder=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_probe_sees_heavy_modules() -> None:
    """The check below can fail. Method: load one."""
    assert loaded("import simpy") == {"simpy"}


@pytest.mark.parametrize(
    "code",
    [
        "import yak_cli",
        "from yak_cli import main; main(['--help'], standalone_mode=False)",
        "from yak_cli import main; main(['--version'], standalone_mode=False)",
        "import yak_net",
        "from yak_net import Consumer, Producer, YakError",
    ],
)
def test_the_front_doors_start_light(code: str) -> None:
    """`yak --help` and imports of a client stay fast. Method: check their imports."""
    assert loaded(code) == set()


def test_the_names_of_yak_net_are_there() -> None:
    """Each public name is found, and another one is an AttributeError."""
    assert {getattr(yak_net, name).__name__ for name in yak_net.__all__} == set(dir(yak_net))
    with pytest.raises(AttributeError, match="Missing"):
        yak_net.Missing  # type: ignore[attr-defined]  # noqa: B018


def test_the_core_works_frozen() -> None:
    """No value of the core changes after its creation. Method: -X yak_strict and a few scripts."""
    modules = [
        source.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for source in sources()
        if source.top == "yak_core" and source.is_python
    ]
    assert "yak_core.value" in modules
    code = f"import {', '.join(modules)}\nassert yak_core.value.STRICT\n{PLAY_A_FEW}"
    done = command("-X", "yak_strict", "-c", code, folder=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_golden_scripts_hold_when_frozen() -> None:
    """Freezing is only declared to the type checker. Method: run the scripts with frozen values."""
    words = ["-m", "pytest", "tests/golden", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = command("-X", "yak_strict", *words, folder=ROOT)
    assert done.returncode == 0, done.stdout[-4000:]
