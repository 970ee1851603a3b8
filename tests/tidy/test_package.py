"""The build metadata: fields that old build tools accept, versions that agree, typed packages."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.tidy.tree import PACKAGES, ROOT
from yak_core.trace.version import DISTRIBUTION

with (ROOT / "pyproject.toml").open("rb") as file:
    SETTINGS = tomllib.load(file)
PROJECT = SETTINGS["project"]
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
RELEASE = re.compile(r"(\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}")
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""Headings of the parts of a release, in the order of Keep a Changelog."""


def faults_of(changelog: str, version: str) -> list[str]:
    """Return what is wrong with the headings of a changelog for a project of this version."""
    headings = HEADING.findall(changelog)
    faults = []
    if headings[:1] == ["Unreleased"]:
        headings = headings[1:]
    elif not headings:
        faults.append("no release and no heading Unreleased")
    faults += [f"not VERSION - DATE: {text}" for text in headings if not RELEASE.fullmatch(text)]
    releases = [text.split(" ")[0] for text in headings]
    if releases and releases[0] != version:
        faults.append(f"newest release {releases[0]}, version of the project {version}")
    numbers = [tuple(map(int, re.findall(r"\d+", each))) for each in releases]
    if numbers != sorted(numbers, reverse=True):
        faults.append("releases are not in descending order")
    return faults


def parts_in_order(changelog: str) -> bool:
    """Return whether each release has its parts in the order of Keep a Changelog."""
    for release in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        parts = re.findall(r"^### (.*)$", release, re.MULTILINE)
        known = [KINDS.index(part) for part in parts if part in KINDS]
        if len(known) != len(parts) or known != sorted(set(known)):
            return False
    return True


def test_old_build_tools_accept_the_license() -> None:
    """No field of metadata 2.4 is used; method: compare the fields with those that are refused."""
    assert PROJECT["license"] == {"text": "MIT"}
    assert "license-files" not in PROJECT
    assert "License :: OSI Approved :: MIT License" in PROJECT["classifiers"]
    targets = SETTINGS["tool"]["hatch"]["build"]["targets"]
    assert {targets[each]["core-metadata-version"] for each in ("sdist", "wheel")} == {"2.1"}
    assert SETTINGS["build-system"]["requires"] == ["hatchling>=1.18,<2"]


def test_the_name_is_that_of_the_distribution() -> None:
    """`yak --version` finds the version; method: compare the name in the code and the metadata."""
    assert PROJECT["name"] == DISTRIBUTION
    assert PROJECT["scripts"] == {"yak": "yak_cli:main"}


def test_classifiers_are_sorted_and_name_the_oldest_python() -> None:
    """The list of Pythons begins where ``requires-python`` does; method: compare both."""
    classifiers = PROJECT["classifiers"]
    assert classifiers == sorted(classifiers)
    minors = [int(m[1]) for c in classifiers if (m := re.search(r":: 3\.(\d+)$", c))]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(package: str) -> None:
    """Type checkers read the annotations of an installed package; method: look for py.typed."""
    assert (ROOT / package / "py.typed").read_bytes() == b""


def test_the_changelog_agrees_with_the_version() -> None:
    """The newest release is the version, or a heading Unreleased is on top; method: read both."""
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert faults_of(changelog, PROJECT["version"]) == []
    assert parts_in_order(changelog)


@pytest.mark.parametrize(
    ("headings", "faults"),
    [
        (["Unreleased"], 0),
        (["0.2.0 - 2026-12-01", "0.1.0 - 2026-11-27"], 0),
        (["Unreleased", "0.2.0 - 2026-12-01"], 0),
        ([], 1),
        (["0.1.0 - 2026-11-27"], 1),
        (["0.2.0"], 1),
        (["0.2.0 - 2026-12-01", "0.3.0 - 2026-12-02"], 1),
    ],
)
def test_a_wrong_changelog_is_noticed(headings: list[str], faults: int) -> None:
    """Each kind of fault is found; method: headings for version 0.2.0."""
    changelog = "\n".join(f"## {heading}\n" for heading in headings)
    assert len(faults_of(changelog, "0.2.0")) == faults


def test_parts_in_the_wrong_order_are_noticed() -> None:
    """Order, doubles and unknown parts are found; method: one sample each."""
    assert parts_in_order("## 1\n### Added\n### Fixed\n## 0\n### Added\n")
    for parts in ("### Fixed\n### Added\n", "### Added\n### Added\n", "### Names\n"):
        assert not parts_in_order(f"## 1\n{parts}")
