"""Environment variables as values of command line options.

White space around a value is removed, because files from Windows end their lines with CR. An error
about a value from the environment names the variable.
"""

from __future__ import annotations

import os
import re
from typing import Final

import click
from click.core import ParameterSource

_SERVICE: Final = re.compile(r"(?:tcp|udp|sctp)://")
"""Start of the values that Kubernetes and container links set, such as YAK_PORT=tcp://10.0.0.1:80
for a service with the name yak."""


class EnvironmentCommand(click.Command):
    """A command whose options may come from environment variables."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. Raises a usage error that names option or variable."""
        for param in self.get_params(ctx):
            for name in _variables(param, ctx):
                _clean(name, param)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            name = _source(error.param, ctx)
            if name and error.param_hint is None:
                error.param_hint = f"environment variable {name}"
            raise


def with_variables(message: str, ctx: click.Context) -> str:
    """Return an error message with the variables whose values it contains."""
    found = [
        name
        for param in ctx.command.get_params(ctx)
        if (name := _source(param, ctx))
        and not (isinstance(param, click.Option) and param.is_flag)
        and any(_occurs(part.strip(), message) for part in os.environ[name].split(","))
    ]
    return f"{message}; the value is that of {', '.join(found)}" if found else message


def _occurs(value: str, message: str) -> bool:
    """Return whether a message contains a value, as it is or as Python shows it."""
    forms = "|".join(map(re.escape, {value, repr(value)[1:-1]}))
    return value != "" and re.search(rf"(?<![\w.:])(?:{forms})(?![.:]?\w)", message) is not None


def _variables(param: click.Parameter, ctx: click.Context) -> list[str]:
    """Return the names of the variables that set an option, the first ones first."""
    names = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
    prefix = ctx.auto_envvar_prefix
    if prefix and isinstance(param, click.Option) and param.allow_from_autoenv and param.name:
        names.append(f"{prefix}_{param.name.upper()}")
    return names


def _source(param: click.Parameter | None, ctx: click.Context) -> str:
    """Return the name of the variable that set an option; empty if none did."""
    if param is None or param.name is None:
        return ""
    if ctx.get_parameter_source(param.name) is not ParameterSource.ENVIRONMENT:
        return ""
    return next((name for name in _variables(param, ctx) if os.environ.get(name)), "")


def _clean(name: str, param: click.Parameter) -> None:
    """Remove white space around a variable, and the variable if another program set it."""
    value = os.environ.get(name)
    if value is None:
        return
    if _SERVICE.match(value):
        del os.environ[name]
        click.echo(
            f"Note: ignored {name}={value}: Kubernetes and container links set it for a service; "
            f"use {'/'.join(param.opts)}",
            err=True,
        )
    else:
        os.environ[name] = value.strip()
