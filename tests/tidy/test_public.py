"""The public names of the packages: each resolves, has a docstring and a type; examples run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import textwrap
import venv
from importlib import import_module
from pathlib import Path

import pytest

from docs.tables import api
from tests.scenarios.scenario_runs import command
from tests.tidy.tree import PACKAGES, ROOT

EXAMPLE = re.compile(r"::\n\n((?:    .*\n|\n)+)")
SHOWN = re.compile(r"^ *print\(.*  # (.*)$", re.MULTILINE)
CLUSTER = ("-m", "yak_cli", "cluster")


def example(package: str) -> str:
    """Return the program in the docstring of a package."""
    source = (ROOT / package / "__init__.py").read_text("utf-8")
    found = EXAMPLE.search(ast.get_docstring(ast.parse(source)) or "")
    assert found is not None, f"{package} has no example"
    return textwrap.dedent(found[1])


def check_example(package: str, folder: Path) -> None:
    """Run the example as a program in a folder; its output must be what its comments say."""
    program = example(package)
    (folder / "example.py").write_text(program, encoding="utf-8")
    done = command("-W", "error", "example.py", folder=folder)
    assert done.returncode == 0, done.stderr
    shown = SHOWN.findall(program)
    assert shown
    assert done.stdout.splitlines() == shown


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_name_resolves_and_has_a_docstring(package: str) -> None:
    """The name at run time is what type checkers see; method: compare it with the source."""
    module = import_module(package)
    listed = [public.name for public in api.public_names(package)]
    assert listed == module.__all__
    assert len(listed) == len(set(listed)) >= 10
    for public in api.public_names(package):
        value = getattr(module, public.name)
        assert value is getattr(import_module(public.module), public.name)
        assert public.doc, f"{public.module}.{public.name} has no docstring"
        if public.kind in ("class", "function"):
            assert value.__module__ == public.module


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    """A typing error is reported as Python does; method: use a name that is not there."""
    with pytest.raises(AttributeError, match="Missing"):
        import_module(package).Missing  # noqa: B018


@pytest.mark.parametrize("package", ["yak_core", "yak_net"])
def test_a_lazy_package_imports_nothing_of_its_own(package: str) -> None:
    """The start of a program stays quick; method: list the modules after the import."""
    code = f"import sys, {package}; print(*(m for m in sys.modules if m.startswith('yak_')))"
    assert command("-c", code, folder=ROOT).stdout.split() == [package]


def test_the_first_sentence_is_taken() -> None:
    """Code keeps its dots, roles become code; method: one docstring with all of them."""
    doc = "Read ``a.b. C`` and\n:class:`~x.y.Z`. More.\n\nEven more."
    assert api.one_line(doc) == "Read `a.b. C` and `Z`."
    with pytest.raises(LookupError, match="does not define"):
        api.find("yak_core.ids", "Nothing")


@pytest.mark.parametrize("package", ["yak_core", "yak_sim"])
def test_the_example_of_a_package_runs(package: str, tmp_path: Path) -> None:
    """The example prints what it says; method: run it in an empty folder."""
    check_example(package, tmp_path)


@pytest.mark.long
def test_the_example_of_the_clients_runs(tmp_path: Path) -> None:
    """The example prints what it says; method: run it beside a new cluster."""
    try:
        up = command(*CLUSTER, "up", "--detach", "--port", "0", folder=tmp_path)
        assert up.returncode == 0, up.stderr
        check_example("yak_net", tmp_path)
    finally:
        down = command(*CLUSTER, "down", folder=tmp_path)
    assert down.returncode == 0, down.stderr


@pytest.mark.long
def test_type_checkers_see_the_type_of_each_public_name(tmp_path: Path) -> None:
    """No public name is Any for an application; method: mypy --strict outside the project.

    The application's environment has the project as an editable install: one path file with a
    folder of links. The application has packages with the names of folders of the project.
    """
    venv.create(tmp_path / "env", symlinks=True)
    [site] = (tmp_path / "env").glob("lib/*/site-packages")
    links = tmp_path / "env" / "importable"
    links.mkdir()
    for name in (*PACKAGES, "yak_cli.py"):
        (links / name).symlink_to(ROOT / name)
    (site / "yak.pth").write_text(f"{links}\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    lines = []
    for name in ("docs", "scenarios", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("ANSWER = 42\n", encoding="utf-8")
        lines.append(f"from {name} import ANSWER as {name}_ANSWER")
    for package in PACKAGES:
        for public in api.public_names(package):
            lines.append(f"from {package} import {public.name} as {package}_{public.name}")
    shown = [line.split(" as ")[1] for line in lines]
    lines += [f"reveal_type({name})" for name in shown]
    (tmp_path / "application.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for package in PACKAGES:
        (tmp_path / f"example_{package}.py").write_text(example(package), encoding="utf-8")
    inside = str(tmp_path / "env" / "bin" / "python")
    words = ["-m", "mypy", "--strict", "--python-executable", inside, "--no-error-summary"]
    files = sorted(path.name for path in tmp_path.glob("*.py"))
    done = subprocess.run(
        [sys.executable, *words, *files], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(shown)
    assert "Any" not in revealed
