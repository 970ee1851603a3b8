"""Tiny projects as fixtures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bootstrap.project import HOST, Project, quick_project
from tests.require import missing


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a tiny project that was never started and has no uv."""
    done = subprocess.run([HOST, "-m", "pip", "--version"], capture_output=True, check=False)
    if done.returncode != 0:
        missing("pip", f"{HOST} has no pip")
    return Project(tmp_path / "a path with spaces, 'quotes\", $HOME and grün")


@pytest.fixture
def quick(tmp_path: Path) -> Project:
    """Return a tiny project that was never started and has the quick installer as its uv."""
    return quick_project(tmp_path / "project")
