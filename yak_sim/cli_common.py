"""Shared by the commands of the simulator: errors, and loading a scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yak_sim.run.catalog import Catalog, ScenarioNotFound

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario

SEED_MAX = (1 << 63) - 1
HELP = {"help_option_names": ["-h", "--help"]}


class CommandLineError(click.ClickException):
    """The command line or an input is invalid: one line on stderr, exit code 2."""

    exit_code = 2


class CommandFailed(click.ClickException):
    """A command failed: one line on stderr, exit code 1."""

    exit_code = 1


def load(catalog: Catalog, reference: str) -> Scenario:
    """Load a scenario of the catalog or of a file. Raise CommandLineError."""
    try:
        return catalog.load(reference)
    except ScenarioNotFound as error:
        raise CommandLineError(str(error)) from error
