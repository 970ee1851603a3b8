"""The one place where a test may skip, unless ``YAK_REQUIRE`` forbids it.

``YAK_REQUIRE`` is a list of requirements, separated by commas (``redis-server,python3.13``). A
missing requirement skips the test with a printed reason, or fails it if the list names the
requirement. A machine that must run all tests names all requirements.
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
    """Return the path of the first program of ``names`` found, by default the requirement's."""
    for name in names or (requirement,):
        path = shutil.which(name)
        if path:
            return path
    missing(requirement, f"no {' or '.join(names or (requirement,))} is on the PATH")


def module(requirement: str, name: str = "") -> None:
    """Require an importable module, by default the requirement's."""
    if importlib.util.find_spec(name or requirement) is None:
        missing(requirement, f"the module {name or requirement} is not installed")


def python(version: str) -> str:
    """Return the path of a Python that runs, such as ``3.13``."""
    path = find_python(version)
    if not path:
        missing(f"python{version}", f"no Python {version} runs here")
    return path


def no_network() -> list[str]:
    """Return the words that start a command with only its own loopback as network."""
    path = executable("netns", "unshare")
    executable("netns", "ip")
    loopback = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    for words in ([path, "--net"], [path, "--map-root-user", "--net"]):
        command = [*words, *loopback, "true"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return [*words, *loopback]
    missing("netns", "this user may not make a network namespace")
