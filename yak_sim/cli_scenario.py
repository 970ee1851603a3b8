"""``yak scenario``: begin a scenario script of one's own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Final

import click

from yak_sim.cli_common import HELP, CommandLineError
from yak_sim.run.catalog import Catalog

_TEMPLATE: Final = Path(__file__).with_name("scenario_template.txt")


@click.group("scenario", context_settings=HELP)
def scenario_group() -> None:
    """Write a scenario script of your own."""


@scenario_group.command("new", short_help="Write a commented script that runs.")
@click.argument("name", metavar="NAME")
@click.option(
    "--dir", "folder", default=".", show_default=True, metavar="DIR",
    help="Folder of the new file.",
)
@click.pass_obj
def new(catalog: Catalog, name: str, folder: str) -> None:
    """Write NAME.py: a commented scenario that runs, to be changed. Existing files are kept."""
    name = name.removesuffix(".py")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise CommandLineError(f"invalid name {name!r}; use letters a-z, digits and underscores")
    if name in catalog.names():
        raise CommandLineError(f"{name} is a scenario of YAK; use another name")
    path = Path(folder, f"{name}.py")
    text = _TEMPLATE.read_text(encoding="utf-8").replace("NAME", name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandLineError(f"{path} exists; use another name, or delete it") from None
    except OSError as error:
        raise CommandLineError(f"cannot write {path}: {error.strerror}") from error
    click.echo(f"wrote {path}; run it with: yak sim run {path}")
