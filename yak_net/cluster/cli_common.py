"""The exceptions and settings that the modules of the command ``yak cluster`` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from yak_net.cluster.errors import CannotStart, ClusterError
from yak_net.metadata.redis_login import with_environment

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EMBEDDED: Final = "embedded"
DATA_DIR: Final = Path(".yak/data")
REDIS_VARIABLES: Final = ["YAK_REDIS", "YAK_REDIS_URL"]


def store_url(redis: str) -> str:
    """Return the URL of ``--redis`` with the login of the environment, "" for the embedded store.

    Raises click.UsageError if a password has two sources.
    """
    if redis in ("", EMBEDDED):
        return ""
    try:
        return with_environment(redis, os.environ)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


class CommandLineError(click.ClickException):
    """Invalid command line; exit code 2."""

    exit_code = 2


class Failed(click.ClickException):
    """A request failed; exit code 1."""

    exit_code = 1


class NotRunning(Failed):
    """No supervisor answers at the control address."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn a CannotStart in the block into CommandLineError, another ClusterError into Failed."""
    try:
        yield
    except CannotStart as error:
        raise CommandLineError(str(error)) from error
    except ClusterError as error:
        raise Failed(str(error)) from error
