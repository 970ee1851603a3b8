"""Runs one scenario file as a program, the same way as ``yak sim run``; must not add options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yak_sim.scenario import Scenario


def run_as_script(story: Scenario) -> None:
    """``python scenarios/NAME.py [--seed N] ...`` is ``yak sim run NAME [--seed N] ...``."""
    from yak_sim.cli import run_command  # noqa: PLC0415 - click is not needed before

    run_command(story)
