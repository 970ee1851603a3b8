"""Tiny projects and hosts to start the wrapper in; must never touch the real project's .venv.

A tiny project is a copy of the wrapper with a package that needs nothing, built by a backend of its
own, so that a whole first start takes about two seconds and no network. A host is a Python of our
own making: the files of the one that runs the tests, less what the test takes away.
"""

from __future__ import annotations

import atexit
import compileall
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from tests.require import missing
from tests.tidy.tree import ROOT

BACKEND = '''
import os, zipfile

def get_requires_for_build_editable(config_settings=None):
    return []

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Pack one path file; note that it happened, and wait at the gate if there is one."""
    with open(".yak/installs", "a") as file:
        file.write("x")
    if os.path.exists("gate"):
        open("gate").read()
    if os.path.exists("broken"):
        raise SystemExit("broken on purpose")
    name = "yak-0.1.0-py3-none-any.whl"
    info = "yak-0.1.0.dist-info/"
    about = ["Metadata-Version: 2.1", "Name: yak", "Version: 0.1.0", "Provides-Extra: dev"]
    wheel = ["Wheel-Version: 1.0", "Generator: us", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    files = {"yak.pth": os.getcwd()}
    files[info + "METADATA"] = "\\n".join(about)
    files[info + "WHEEL"] = "\\n".join(wheel)
    files[info + "RECORD"] = "".join(path + ",,\\n" for path in [*files, info + "RECORD"])
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
    report = {"argv": sys.argv, "cwd": os.getcwd(), "prefix": sys.prefix, "env": dict(os.environ),
              "version": "%d.%d" % sys.version_info[:2], "path": sys.path}
    print(json.dumps(report))
    return 7 if "fail" in sys.argv else 0
"""
# An installer that is called like uv and truly installs, ten times quicker than pip: for the tests
# that ask what the wrapper does with .venv and not who fills it.
QUICK_INSTALLER = """#!{python}
import glob, os, sys, tempfile, zipfile
if sys.argv[1] == "--version":
    sys.exit(print("uv 0 (quick)"))
assert sys.argv[1:4] == ["pip", "install", "--python"], sys.argv
[site] = glob.glob(os.path.dirname(os.path.dirname(sys.argv[4])) + "/lib/*/site-packages")
sys.path.insert(0, os.getcwd())
from backend import build_editable
with tempfile.TemporaryDirectory() as folder:
    zipfile.ZipFile(os.path.join(folder, build_editable(folder))).extractall(site)
"""
# Stands for ruff, mypy and pytest: says its words and fails if a file of its name says so.
TOOL = """
import os, sys
name = os.path.basename(__file__)[:-3]
print(name, *sys.argv[1:])
sys.exit(os.path.exists(name + ".fails"))
"""


@dataclass
class Project:
    """A tiny project in a folder of its own; ``python`` and ``env`` are what it is started with."""

    folder: Path
    python: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        files = {"backend.py": BACKEND, "pyproject.toml": PYPROJECT, "yak_cli.py": CLI}
        files |= {f"{tool}.py": TOOL for tool in ("ruff", "mypy", "pytest")}
        for name, text in files.items():
            (self.folder / name).write_text(text)
        (self.folder / "requirements.lock").write_text("")
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

    @cached_property
    def home(self) -> Path:
        """A home folder with nothing in it, beside the project."""
        home = self.folder.parent / f"{self.folder.name}-home"
        home.mkdir()
        return home

    def environment(self) -> dict[str, str]:
        """What a start sees: no settings of whoever runs the tests, and no uv."""
        strange = ("PIP_", "UV_", "YAK_", "PYTHONDONTWRITE", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        base = {"HOME": str(self.home), "YAK_UV": "0", "PIP_NO_INDEX": "1", "XDG_CACHE_HOME": ""}
        return {**kept, **base, **self.env}

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start the wrapper in a process group of its own."""
        return subprocess.Popen(
            [self.python, str(self.folder / "yak"), *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(
        self, *words: str, cwd: Path | None = None, prefix: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the wrapper to its end, below the words of ``prefix`` if there are any."""
        return subprocess.run(
            [*prefix, self.python, str(self.folder / "yak"), *words],
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def report(self, *words: str, cwd: Path | None = None) -> dict[str, object]:
        """What the started command saw; the start must succeed."""
        done = self.start(*words, cwd=cwd)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert isinstance(report, dict)
        return report


def quick_project(folder: Path, python: str) -> Project:
    """A project that is installed by the quick installer, which lies beside it."""
    installer = folder.parent / "quick-installer"
    installer.write_text(QUICK_INSTALLER.format(python=base_python()))
    installer.chmod(0o755)
    return Project(folder, python, {"YAK_UV": str(installer)})


def base_python() -> str:
    """The Python below the virtual environment that the tests run in."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def pip_files() -> Path:
    """A compiled pip: that of our Python if it has a new one, else the one it brings along."""
    code = "import pip; print(pip.__path__[0] if int(pip.__version__.split('.')[0]) > 22 else '')"
    done = subprocess.run([base_python(), "-c", code], capture_output=True, text=True, check=False)
    if done.stdout.strip():
        return Path(done.stdout.strip())
    [wheel] = Path(sysconfig.get_path("stdlib"), "ensurepip", "_bundled").glob("pip-*.whl")
    folder = Path(tempfile.mkdtemp(prefix="yak-pip-"))
    atexit.register(shutil.rmtree, folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    compileall.compile_dir(folder, quiet=1)
    return folder / "pip"


def make_host(folder: Path, without: tuple[str, ...] = (), *, managed: bool = False) -> str:
    """A Python made of links to ours, with a pip of its own; returns its path.

    ``without`` names modules that it lacks, pip among them; ``managed`` marks it as
    EXTERNALLY-MANAGED (PEP 668).
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = folder / "lib" / version
    packages = library / "site-packages"
    packages.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("stdlib")).iterdir():
        if entry.name not in {*without, "site-packages", "EXTERNALLY-MANAGED"}:
            (library / entry.name).symlink_to(entry)
    if "pip" not in without:
        (packages / "pip").symlink_to(pip_files())
    if managed:
        (library / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=hands off\n")
    program = folder / "bin" / version
    program.parent.mkdir()
    shutil.copy(base_python(), program)
    probe = "import sys, importlib.util as u; print(sys.prefix, *(m for m in {} if u.find_spec(m)))"
    done = subprocess.run(
        [program, "-c", probe.format((*without, "os"))], capture_output=True, text=True, check=False
    )
    if done.stdout.split() != [str(folder), "os"]:
        missing("movable-python", f"a copy of {base_python()} does not run: {done.stderr}")
    return str(program)
