"""Every option of every command refuses nonsense: exit code 2, and the option and value in stderr.

Method: walk the tree of commands, and give each option with a type of click or of YAK bad values.
The command does not start, since options are parsed first; arguments are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from yak_cli import main
from yak_net.client.cli_types import Offset, Time


def commands(
    command: click.Command, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command that is no group, with its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        inner = click.Context(child, info_name=name, parent=context)
        yield from commands(child, inner, (*path, name))


def nonsense(kind: click.ParamType[Any]) -> tuple[str, ...]:
    """Return values that the type must refuse; empty for text and paths."""
    match kind:
        case click.FloatRange():
            return ("x", "-1", "1,5")
        case click.IntRange() | click.types.IntParamType():
            return ("x", "1.5", "1e3")
        case click.Choice():
            return ("nonsense",)
        case Time():
            return ("x", "-1", "5 days")
        case Offset():
            return ("nonsense", "@nonsense")
    return ()


CASES = [
    (words, option.opts, value)
    for words, command in commands(main, click.Context(main))
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag
    for value in nonsense(option.type)
]


def test_the_walk_finds_the_options() -> None:
    """Goal: the cases below are not few by mistake; method: some commands and their number."""
    assert len({words for words, _, _ in CASES}) >= 12
    assert len(CASES) >= 120


@pytest.mark.parametrize("first", sorted({words[0] for words, _, _ in CASES}))
def test_an_option_refuses_nonsense(first: str) -> None:
    """Goal: one sentence that names option and value, exit code 2, no traceback."""
    for words, names, value in CASES:
        if words[0] != first:
            continue
        for name in names:
            done = CliRunner().invoke(main, [*words, name, value])
            where = (words, name, value, done.output)
            assert done.exit_code == 2, where
            last = done.stderr.strip().splitlines()[-1]
            assert last.startswith("Error: "), where
            assert any(each in last for each in names), where
            assert value.removeprefix("@") in last, where
