"""Finds the other Pythons of the machine and makes virtual environments with them."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
NEEDED_BY_THE_SIMULATOR = ("simpy", "crc32c", "click")
PROBE = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"


@functools.cache
def other_pythons() -> dict[str, str]:
    """Return version to path of each other Python that YAK supports and that runs."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {version: find_python(version) for version in VERSIONS if version != own}
    return {version: path for version, path in found.items() if path}


def find_python(version: str) -> str:
    """Return the path of a Python of this version, such as ``3.13``, or "".

    Shims of version managers may be on the PATH for versions that are not installed, so each
    candidate is run.
    """
    paths = (path for path in _candidates(f"python{version}") if _version(path) == version)
    return str(next(paths, ""))


def _candidates(name: str) -> list[Path]:
    """Return the possible paths of a Python of this name, the PATH first."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted(versions.glob("*/bin"))
    return [folder / name for folder in folders if (folder / name).is_file()]


def _version(path: Path) -> str:
    """Return the version of a candidate, or "" if it does not run."""
    try:
        probe = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return probe.stdout if probe.returncode == 0 else ""


def simulator_python(python: str) -> str:
    """Return the Python of a virtual environment with the simulator's packages, made once.

    ``python`` is a path that `other_pythons` gave. The project itself is not installed there: the
    caller sets ``PYTHONPATH`` or the working folder.
    """
    pins = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    store = Path(sys.prefix if sys.prefix != sys.base_prefix else tempfile.gettempdir())
    folder = store / "other-pythons" / Path(python).name
    folder.mkdir(parents=True, exist_ok=True)
    stamp, inside = folder / "ready", folder / "env" / "bin" / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text(encoding="utf-8") == pins):
            subprocess.run([python, "-m", "venv", "--clear", folder / "env"], check=True)
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            constraint = ["--constraint", str(ROOT / "requirements.lock")]
            subprocess.run([inside, *install, *constraint, *NEEDED_BY_THE_SIMULATOR], check=True)
            stamp.write_text(pins, encoding="utf-8")
    return str(inside)
