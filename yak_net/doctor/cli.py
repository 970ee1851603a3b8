"""The command ``yak doctor``: the options of a broker, and the cluster of this folder."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from yak_net.runtime.environment import EnvironmentCommand, with_variables

if TYPE_CHECKING:
    from yak_net.doctor.results import Result, SetUp

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
UNHEALTHY: Final = 10


@click.command(cls=EnvironmentCommand, context_settings={**HELP, "auto_envvar_prefix": "YAK"})
@click.option("--node-id", metavar="ID", help="Expected broker id.")
@click.option("--listen", metavar="HOST:PORT", help="Address that a broker is to listen on.")
@click.option("--host", metavar="HOST", help="Host to listen on (instead of --listen).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (instead of --listen).")
@click.option(
    "--advertised-url", default="", metavar="URL", help="URL that a broker is to advertise."
)
@click.option(
    "--redis",
    "--redis-url",
    "redis",
    envvar=["YAK_REDIS", "YAK_REDIS_URL"],
    default="",
    metavar="URL",
    help="Metadata store.",
)
@click.option("--cluster", metavar="NAME", help="Expected cluster name.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Data folder of a broker or of a cluster.",
)
@click.option(
    "-b",
    "--bootstrap-servers",
    "--bootstrap-server",
    "servers",
    metavar="HOST:PORT,...",
    envvar="YAK_BOOTSTRAP_SERVERS",
    help="Brokers that are expected to run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per result.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is wrong.")
def doctor(as_json: bool, quiet: bool, **given: Any) -> None:
    """Find what is wrong with a set-up, and say what to do.

    With the options or environment variables of a broker, its set-up is checked, before or while
    it runs. With -b, running brokers are checked. Without options, the cluster of this folder is
    checked, or what yak cluster up needs. Each option can also be set by an environment variable:
    YAK_ and the name of the option in capitals.

    Checked: port, data folder, disk, open files, metadata store (reach, persistence, eviction,
    cluster), clocks, advertised URLs, the brokers and the ISR. Nothing is changed.

    Exit codes: 0 nothing is wrong (notes may be printed), 2 invalid options, 10 something is wrong.
    """
    from yak_net.doctor.examine import examine
    from yak_net.doctor.results import BAD
    from yak_net.runtime.settings import SettingsError

    try:
        set_up = _set_up(given)
    except SettingsError as error:
        message = with_variables(str(error), click.get_current_context())
        raise click.UsageError(message) from error
    results = asyncio.run(examine(set_up))
    wrong = [each for each in results if each.severity in BAD]
    shown = wrong if quiet else results
    if as_json:
        for each in shown:
            click.echo(json.dumps(each.as_json()))
    else:
        _print(shown)
        if not quiet:
            text = f"{len(wrong)} of {len(results)} checks found something wrong"
            click.echo(text if wrong else f"{len(results)} checks, nothing wrong", err=True)
    sys.exit(UNHEALTHY if wrong else 0)


def _print(results: list[Result]) -> None:
    width = max((len(each.check) for each in results), default=0)
    for each in results:
        subject = "" if each.problem.startswith(each.subject) else f"{each.subject}: "
        click.echo(f"{each.severity:<7} {each.check:<{width}}  {subject}{each.problem}")
        if each.advice:
            click.echo(f"{'':<7} {'':<{width}}  -> {each.advice}")


def _set_up(given: dict[str, Any]) -> SetUp:
    """Return what to check. Raises SettingsError, UsageError."""
    from yak_net.cluster.cli_common import store_url
    from yak_net.doctor.results import SetUp
    from yak_net.runtime import settings

    listen = None
    if given["listen"]:
        listen = settings.parse_listen(given["listen"])
    elif given["host"] or given["port"] is not None:
        port = settings.PORT if given["port"] is None else given["port"]
        listen = (given["host"] or settings.HOST, port)
    servers = settings.parse_urls(given["servers"] or "")
    if given["advertised_url"]:
        servers = (*servers, settings.parse_url(given["advertised_url"]))
    data = given["data_dir"]
    asked = any(given[name] for name in ("node_id", "redis", "cluster", "data_dir"))
    if listen is None and not servers and not asked:
        return _of_this_folder()
    return SetUp(
        cluster=given["cluster"],
        node=given["node_id"],
        listen=listen,
        servers=servers,
        redis_url=store_url(given["redis"]),
        folders=() if data is None else (data,),
    )


def _of_this_folder() -> SetUp:
    """Return the set-up of the running cluster of this folder, or of one that is to start."""
    from yak_net.cluster.cli_common import DATA_DIR
    from yak_net.cluster.supervisor_calls import cluster_state
    from yak_net.doctor.results import SetUp
    from yak_net.runtime import settings
    from yak_net.runtime.state_file import is_alive

    state = cluster_state()
    if state is not None and is_alive(state.supervisor):
        return SetUp(
            cluster=state.cluster,
            servers=tuple(url for _, url in state.brokers),
            redis_url=state.redis_url,
            folders=(Path(state.data_dir),),
        )
    click.echo("no cluster runs in this folder; checking what yak cluster up needs", err=True)
    return SetUp(listen=(settings.HOST, settings.PORT), folders=(DATA_DIR,))
