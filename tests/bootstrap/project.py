"""Tiny projects to start the wrapper in.

A tiny project is a copy of the wrapper with a package without requirements and its own build
backend, so that a first start takes about two seconds and no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tidy.tree import ROOT

# The Python outside of the virtual environment that the tests run in.
HOST = str(getattr(sys, "_base_executable", None) or sys.executable)

MADE = "yak: creating "
UPDATED = "yak: updating "

BACKEND = '''
import os, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Pack one path file and count the call; if there is a pipe "gate", wait until it is closed."""
    with open(".yak/installs", "a") as file:
        file.write("x")
    if os.path.exists("gate"):
        open("gate").read()
    name, info = "yak-0.1.0-py3-none-any.whl", "yak-0.1.0.dist-info/"
    about = "Metadata-Version: 2.1\\nName: yak\\nVersion: 0.1.0"
    about += "\\nProvides-Extra: dev\\nProvides-Extra: lab"
    files = {
        "yak.pth": os.getcwd(),
        info + "METADATA": about,
        info + "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any",
        info + "RECORD": "",
    }
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
'''
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "yak"
version = "0.1.0"
"""
CLI = """
import json, os, sys

def main():
    report = {"argv": sys.argv, "cwd": os.getcwd(), "prefix": sys.prefix, "path": sys.path}
    report["bytecode"] = not sys.dont_write_bytecode and sys.pycache_prefix
    print(json.dumps({**report, "plots": os.environ["MPLCONFIGDIR"]}))
    return 7 if "fail" in sys.argv else 0
"""
# A stand-in for uv, ten times faster than pip. Fails if there is a file "broken".
QUICK_INSTALLER = f"""#!{HOST} -IS
import glob, os, sys, tempfile, zipfile
assert sys.argv[1:3] == ["pip", "install"], sys.argv
[site] = glob.glob(".venv/lib/*/site-packages")
sys.path.insert(0, os.getcwd())
from backend import build_editable
with tempfile.TemporaryDirectory() as folder:
    zipfile.ZipFile(os.path.join(folder, build_editable(folder))).extractall(site)
sys.exit(os.path.exists("broken"))
"""
# A stand-in for ruff, mypy and pytest: prints its arguments. Fails if FAILING names it.
TOOL = """
import os, sys
name = os.path.basename(__file__)[:-3]
print(name, *sys.argv[1:])
sys.exit(name in os.environ.get("FAILING", ""))
"""


@dataclass
class Project:
    """A tiny project in ``folder``, started by ``python`` with ``env`` added to the environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    python: str = HOST

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        files = {"backend.py": BACKEND, "pyproject.toml": PYPROJECT, "yak_cli.py": CLI}
        files |= {f"{tool}.py": TOOL for tool in ("ruff", "mypy", "pytest")}
        for name, text in {**files, "requirements.lock": ""}.items():
            (self.folder / name).write_text(text)
        shutil.copy(ROOT / "yak", self.folder)

    @property
    def venv(self) -> Path:
        """The environment that the wrapper makes."""
        return self.folder / ".venv"

    @property
    def installs(self) -> int:
        """How often the project was installed."""
        log = self.folder / ".yak" / "installs"
        return len(log.read_text()) if log.exists() else 0

    def popen(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start the wrapper in a process group of its own, without settings of pip, uv or YAK."""
        strange = ("PIP_", "UV_", "YAK_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        home = str(self.folder.parent)
        return subprocess.Popen(
            [self.python, str(self.folder / "yak"), *words],
            cwd=cwd,
            env={**kept, "HOME": home, "YAK_UV": "0", "PIP_NO_INDEX": "1", **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the wrapper to its end."""
        process = self.popen(*words, cwd=cwd)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def report(self, *words: str, cwd: Path | None = None) -> dict[str, Any]:
        """Return what the started command printed about itself; the start must succeed."""
        done = self.start(*words, cwd=cwd)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report


def script(path: Path, text: str) -> str:
    """Write an executable script and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def quick_project(folder: Path) -> Project:
    """Return a project whose uv is the quick installer, a file beside the project."""
    return Project(folder, {"YAK_UV": script(folder.parent / "quick-installer", QUICK_INSTALLER)})
