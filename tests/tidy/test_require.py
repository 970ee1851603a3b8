"""The helpers that skip tests and find other Pythons, on any machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.outcomes import Failed, Skipped

from tests import pythons, require

ABSENT = "no-such-thing"
ASKS = [
    lambda: require.executable(ABSENT),
    lambda: require.executable(ABSENT, "no-such-program", "nor-this-one"),
    lambda: require.module(ABSENT, "no_such_module"),
    lambda: require.missing(ABSENT, "there is none"),
]


@pytest.mark.parametrize("ask", ASKS)
def test_what_is_missing_skips_with_its_reason(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: require a program that no machine has."""
    monkeypatch.setenv("YAK_REQUIRE", "something-else")
    with pytest.raises(Skipped, match=f"{ABSENT}: .* (is|not)"):
        ask()


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("named", [ABSENT, f"a, {ABSENT},b", f"a {ABSENT}"])
def test_what_is_missing_fails_when_it_is_named(
    ask: Callable[[], object], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: name a program that no machine has in YAK_REQUIRE."""
    monkeypatch.setenv("YAK_REQUIRE", named)
    with pytest.raises(Failed, match=f"YAK_REQUIRE names {ABSENT}"):
        ask()


def test_a_missing_python_is_a_requirement_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: python3.99."""
    monkeypatch.setenv("YAK_REQUIRE", "python3.99")
    with pytest.raises(Failed, match=r"names python3\.99"):
        require.python("3.99")


def test_what_is_there_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Method: a program in a temporary folder, and a module."""
    program = tmp_path / "thing"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("YAK_REQUIRE", "thing,click")
    assert require.executable("thing") == str(program)
    assert require.executable("things", "no-such-thing", "thing") == str(program)
    require.module("click")


def test_other_pythons_really_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shim without a Python is ignored. Method: a false and a true one on the PATH."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = next(version for version in pythons.VERSIONS if version != own)
    first, second = tmp_path / "first", tmp_path / "second"
    says = {first: "exit 127", second: f"printf {other}"}
    for folder, line in says.items():
        folder.mkdir()
        (folder / f"python{other}").write_text(f"#!/bin/sh\n{line}\n")
        (folder / f"python{other}").chmod(0o755)
    monkeypatch.setenv("PATH", f"{first}{os.pathsep}{second}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.other_pythons.__wrapped__() == {other: str(second / f"python{other}")}


def test_other_pythons_are_what_they_say() -> None:
    """The found versions are right and not ours. Method: run each."""
    for version, path in pythons.other_pythons().items():
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"Python {version}.")
        assert not sys.version.startswith(f"{version}.")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_simulators_needs_can_be_met_elsewhere(version: str) -> None:
    """Method: make a virtual environment and import the core there."""
    inside = pythons.simulator_python(require.python(version))
    code = "import simpy, crc32c, click, yak_core, sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run(
        [inside, "-c", code], cwd=pythons.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr
