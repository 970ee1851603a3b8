"""The one place where a test may skip; must never let pass what ``YAK_REQUIRE`` names.

``YAK_REQUIRE`` is a list of requirements, separated by commas (``redis-server,python3.13``). A
requirement that is missing skips the test with its reason printed, unless it is named there: then
the test fails. A machine that is meant to run everything names everything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from typing import NoReturn

import pytest

from tests.pythons import find_python


def missing(requirement: str, reason: str) -> NoReturn:
    """Skip the running test, or fail it if ``YAK_REQUIRE`` names the requirement."""
    if requirement in os.environ.get("YAK_REQUIRE", "").replace(",", " ").split():
        pytest.fail(f"YAK_REQUIRE names {requirement}, and {reason}", pytrace=False)
    pytest.skip(f"{requirement}: {reason}")


def executable(requirement: str, *names: str) -> str:
    """The path of a program: of the first of ``names`` found, by default the requirement's."""
    for name in names or (requirement,):
        path = shutil.which(name)
        if path:
            return path
    missing(requirement, f"no {' or '.join(names or (requirement,))} is on the PATH")


def module(requirement: str, name: str = "") -> None:
    """An importable module, by default the requirement's."""
    if importlib.util.find_spec(name or requirement) is None:
        missing(requirement, f"the module {name or requirement} is not installed")


def python(version: str) -> str:
    """The path of a Python that runs, such as ``3.13``."""
    path = find_python(version)
    if not path:
        missing(f"python{version}", f"no Python {version} runs here")
    return path


def no_network() -> list[str]:
    """The words that start a command where no network is but a loopback of its own."""
    path = executable("netns", "unshare")
    executable("netns", "ip")
    loopback = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    for words in ([path, "--net"], [path, "--map-root-user", "--net"]):
        command = [*words, *loopback, "true"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return [*words, *loopback]
    missing("netns", "this user may not make a network namespace")
