"""Hosts and tiny projects as fixtures; must never outlive the test that asked for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bootstrap.project import Project, make_host, quick_project


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with pip and ensurepip that no package manager minds."""
    return make_host(tmp_path_factory.mktemp("host"))


@pytest.fixture
def project(tmp_path: Path, host: str) -> Project:
    """A tiny project that was never started, with a plain host."""
    return Project(tmp_path / "project", host)


@pytest.fixture
def quick(tmp_path: Path, host: str) -> Project:
    """A tiny project that was never started and is installed without pip."""
    return quick_project(tmp_path / "project", host)
