"""The wheel and the sdist: their files, both kinds of installation, and a release."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST
from tests.bootstrap.test_whole import copy_tree
from tests.tidy.tree import PACKAGES, ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

QUIET = ("--quiet", "--disable-pip-version-check")
IMPORTABLE = {*PACKAGES, "yak_cli.py"}
SCENARIOS = sorted(path.name for path in (ROOT / "scenarios").iterdir() if path.is_file())
LESSONS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
OF_APPLICATIONS = ("benchmarks", "docs", "notebooks", "scenarios", "tests")
"""Folders of the project whose names other projects use, too."""


def run(folder: Path, *command: str | Path, **env: str) -> str:
    """Run a command that must succeed; return its stdout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env={**kept, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", params=["hatchling==1.18.*", "hatchling"])
def dist(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a folder with the wheel and the sdist, built by one version of the build tool."""
    folder = tmp_path_factory.mktemp("dist")
    tools, project = folder / "tools", folder / "project"
    run(folder, HOST, "-m", "pip", "install", *QUIET, "--target", tools, request.param)
    copy_tree(project)
    command = [HOST, "-W", "error::DeprecationWarning", "-m", "hatchling", "build"]
    run(project, *command, "-d", str(folder / "dist"), PYTHONPATH=str(tools))
    return folder / "dist"


def test_the_wheel_has_the_packages_and_the_command(dist: Path) -> None:
    """Each product file is in the wheel, with py.typed and the license; method: list it."""
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    wanted = {path.relative_to(ROOT).as_posix() for path in modules}
    wanted |= {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {f"yak_sim/_scenarios/{name}" for name in SCENARIOS}
    assert wanted | {"yak_cli.py"} <= names
    lessons = {name for name in names if name.startswith("yak_sim/_lessons/")}
    assert lessons == {f"yak_sim/_lessons/{name}" for name in LESSONS}
    assert "yak_sim/lessons/jupyter_config/labconfig/page_config.json" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == IMPORTABLE
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert text.startswith("Metadata-Version: 2.1\n")
    assert "\nLicense: MIT\n" in text
    assert "License-Expression" not in text


def test_the_sdist_has_what_the_tests_read(dist: Path) -> None:
    """Tests, docs and settings are in the sdist, caches are not; method: list it."""
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"yak", "yak_cli.py", ".ci/run", "requirements.lock", "tests/conftest.py"}
    assert wanted | {"docs/api.md", "SECURITY.md", "hatch_build.py"} <= names
    for folder in ("scenarios", "yak_sim/_scenarios"):
        assert {f"{folder}/{name}" for name in SCENARIOS} <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


def test_the_wheel_works_in_an_empty_environment(dist: Path, tmp_path: Path) -> None:
    """The installed command runs a scenario; method: install with pip, outside the project."""
    [wheel] = dist.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    inside = tmp_path / "env" / "bin"
    constraint = ROOT / "requirements.lock"
    run(tmp_path, inside / "pip", "install", *QUIET, "--constraint", constraint, wheel)
    assert run(tmp_path, inside / "yak", "--version").startswith("yak, version ")
    assert "slow_follower" in run(tmp_path, inside / "yak", "sim", "list")
    assert "valid: true" in run(tmp_path, inside / "yak", "sim", "run", "zombie_leader")
    assert len(run(tmp_path, inside / "yak", "lessons").splitlines()) == 1 + len(LESSONS)
    assert run(tmp_path, inside / "yak", "lab", "1", "--copy-only").endswith(f"{LESSONS[0]}\n")


def test_an_editable_install_leaves_the_names_of_applications_free(
    dist: Path, tmp_path: Path
) -> None:
    """Its path has the packages and the command only; method: import from another folder.

    The folders of an application with the same names as those of the project are found, by Python
    and by a type checker.
    """
    project, env = tmp_path / "project", tmp_path / "env"
    copy_tree(project)
    venv.create(env, with_pip=True)
    options = (*QUIET, "--no-deps", "--no-build-isolation", "--editable", project)
    run(tmp_path, env / "bin" / "pip", "install", *options, PYTHONPATH=str(dist.parent / "tools"))
    [site] = env.glob("lib/*/site-packages")
    [path_file] = site.glob("*yak*.pth")
    [folder] = path_file.read_text("utf-8").split()
    assert {path.name for path in Path(folder).iterdir()} == IMPORTABLE
    find = "import sys, importlib.util as u; print([u.find_spec(n) is None for n in sys.argv[1:]])"
    python = env / "bin" / "python"
    assert run(tmp_path, python, "-P", "-c", find, *OF_APPLICATIONS) == f"{[True] * 5}\n"
    names = "import sys; from yak_sim.run.catalog import Catalog; print(*Catalog().names())"
    listed = run(tmp_path, python, "-P", "-S", "-c", names, PYTHONPATH=_path(folder))
    assert [f"{name}.py" for name in listed.split()] == [
        name for name in SCENARIOS if name.endswith(".py") and name != "__init__.py"
    ]


def _path(*folders: str) -> str:
    """Return the folders and the installed packages of this Python as a path."""
    return os.pathsep.join((*folders, sysconfig.get_path("purelib")))


def test_the_commands_of_a_release_work(tmp_path: Path) -> None:
    """CONTRIBUTING.md can be followed; method: run its block in a copy, but for the tests."""
    copy_tree(tmp_path)
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Releasing")[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = section.replace("VERSION", project["version"])
    lines = [shlex.split(line) for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE)]
    assert lines[0] == ["./yak", "test", "--all"]
    for words in lines[1:]:
        name = HOST if words[0] == "python3" else words[0]
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"] if name == "git" else []
        run(tmp_path, name, *identity, *words[1:])
    assert run(tmp_path, "git", "tag").strip() == f"v{project['version']}"
    assert run(tmp_path, "git", "status", "--porcelain") == ""
