"""The entry point of a scenario file that is run as a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario


def run_as_script(scenario: Scenario) -> None:
    """Run ``python scenarios/NAME.py [--seed N] ...`` as ``yak sim run NAME [--seed N] ...``."""
    from yak_sim.cli import run_command

    run_command(scenario)
