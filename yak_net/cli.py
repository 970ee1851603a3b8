"""``yak broker``: one broker in this process; must never decide what a broker does.

Every option can be given by the environment, too: ``YAK_`` and its name in capitals; an option
comes before the environment, and the environment before the default.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from yak_net.runtime.settings import BrokerSettings

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command(context_settings={**HELP, "auto_envvar_prefix": "YAK"})
@click.option("--node-id", default="n1", show_default=True, metavar="ID", help="Its own name.")
@click.option("--listen", metavar="HOST:PORT", help="Where it listens.  [default: 127.0.0.1:8080]")
@click.option("--host", metavar="HOST", help="The host alone, where --listen is not given.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port alone; 0 takes a free one.")
@click.option("--advertised-url", default="", metavar="URL", help="Where others reach it.")
@click.option("--brokers", default="", metavar="n1=URL,...", help="All brokers of the cluster.")
@click.option("--followers", default="", metavar="URL,...", help="Instead: a leader's followers.")
@click.option(
    "--role",
    type=click.Choice(["leader", "follower"]),
    help="Who creates the cluster and stands first; later, roles are elected.",
)
@click.option(
    "--redis", "--redis-url", "redis", envvar=["YAK_REDIS", "YAK_REDIS_URL"],
    default="redis://127.0.0.1:6379/0", show_default=True, metavar="URL", help="Metadata store.",
)
@click.option("--cluster", default="yak", show_default=True, metavar="NAME", help="Its cluster.")
@click.option(
    "--data-dir", default=".yak/broker", show_default=True, metavar="DIR",
    type=click.Path(path_type=Path), help="Where the log lies.",
)
@click.option(
    "--flush", type=click.Choice(["batch", "os"]), default="batch", show_default=True,
    help="batch: an acknowledged record was flushed by the ISR; os: it was written.",
)
@click.option("--min-isr", type=click.IntRange(1), help="For a new cluster.  [default: 2, or 1]")
@click.option(
    "--config", multiple=True, metavar="NAME=VALUE",
    help="A period or limit, such as lease_us=3000000; may be repeated.",
)
@click.option(
    "--trace", type=click.Path(path_type=Path), metavar="FILE",
    help="Record every event and effect, for yak sim replay.",
)
@click.option("--insecure", is_flag=True, help="Listen off this machine, unencrypted.")
@click.option("--verbose", is_flag=True, help="Log each remark of the node.")
def broker(**options: Any) -> None:
    """Run one broker.

    Without --brokers and --followers it is a cluster of its own. With YAK_ROLE, YAK_NODE_ID,
    YAK_HOST, YAK_PORT, YAK_FOLLOWERS, YAK_REDIS_URL and YAK_DATA_DIR alone, a leader and its
    followers find each other.

    Exit codes: 0 stopped in good order, 1 halted, 2 it cannot be started so.
    """
    from yak_net.runtime.quick_import import quick_import
    from yak_net.runtime.settings import SettingsError

    verbose = bool(options.pop("verbose"))
    try:
        settings = _settings(options)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    quick_import("yak_net.broker.process")
    from yak_net.broker.process import run

    sys.exit(run(settings, verbose=verbose))


def _settings(options: dict[str, Any]) -> BrokerSettings:
    """The options as settings. Raises SettingsError."""
    from yak_net.runtime import settings as words

    host, port = options["host"] or words.HOST, options["port"]
    port = words.PORT if port is None else port
    if options["listen"]:
        host, port = words.parse_listen(options["listen"])
    lifeline = os.environ.get("YAK_LIFELINE", "")
    return words.check(
        words.BrokerSettings(
            node_id=options["node_id"],
            host=host,
            port=port,
            advertised_url=words.parse_url(options["advertised_url"])
            if options["advertised_url"]
            else "",
            brokers=words.parse_brokers(options["brokers"]),
            followers=words.parse_urls(options["followers"]),
            role=words.Role(options["role"]) if options["role"] else None,
            redis_url=options["redis"],
            cluster=options["cluster"],
            data_dir=options["data_dir"],
            flush=options["flush"],
            min_isr=options["min_isr"],
            config=words.parse_config(options["config"]),
            trace=options["trace"],
            insecure=options["insecure"],
            reuse_port=os.environ.get("YAK_REUSE_PORT") == "1",
            lifeline=int(lifeline) if lifeline.isdigit() else None,
        )
    )
