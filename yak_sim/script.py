"""Runs one scenario file as a program, as ``yak sim run`` does; must never add options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario


def run_as_script(story: Scenario) -> None:
    """``python scenarios/NAME.py [--seed N] ...`` is ``yak sim run NAME [--seed N] ...``."""
    from yak_sim.cli import run_command

    run_command(story)
