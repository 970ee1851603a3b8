"""The whole tree follows the tidy rules."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.tidy import rooms, rules
from tests.tidy.tree import PACKAGES, ROOT, Source, sources

TREE = tuple(sources())


def test_the_tree_keeps_every_rule() -> None:
    """No file breaks a rule, and no modules import each other in a circle."""
    faults = [fault for source in TREE for rule in rules.ALL for fault in rule(source)]
    faults += rooms.circles(TREE)
    assert not faults, "\n".join(faults)


def test_the_tree_is_not_empty() -> None:
    """Method: find a few files that must be there."""
    names = {source.name for source in TREE}
    assert {"yak", "pyproject.toml", "yak_core/value.py", "tests/conftest.py"} <= names
    assert not any(name.startswith((".venv", ".git/", "out/")) for name in names)


def test_data_of_a_user_is_no_source(tmp_path: Path) -> None:
    """The checks run beside the data of brokers. Method: three files of ours, three of a user."""
    for name in ("yak", "README.md", "yak_core/ids.py", "data/n1/checkpoint", "log", "n1.pid"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\n" if path.suffix or name == "yak" else b"\xac")
    names = [source.name for source in sources(tmp_path)]
    assert names == ["README.md", "yak", "yak_core/ids.py"]


def test_each_package_is_packed_and_typed() -> None:
    """An installation has the packages and the command. Method: read the build settings."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        tool = tomllib.load(file)["tool"]
    packed = tool["hatch"]["build"]["targets"]["wheel"]["only-include"]
    tops = {source.top for source in TREE if source.name.endswith("__init__.py")} - {"tests"}
    assert tops <= {*PACKAGES, "scenarios", "benchmarks", "notebooks"}
    assert set(packed) == {*PACKAGES, "yak_cli.py"}
    assert (ROOT / "yak_sim" / "_scenarios").resolve() == (ROOT / "scenarios").resolve()
    assert (ROOT / "yak_sim" / "_lessons").resolve() == (ROOT / "notebooks").resolve()
    assert tool["mypy"]["strict"] is True
    assert tool["mypy"]["files"] == ["."]


def test_a_source_knows_its_place() -> None:
    """`Source.top` is right. Method: one file in a folder, one outside."""
    assert Source("yak_core/broker/replica_log.py", "").top == "yak_core"
    assert Source("yak_cli.py", "").top == "yak_cli.py"
