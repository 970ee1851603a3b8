"""The command ``yak broker``: runs one broker in this process.

Each option can also be set by an environment variable: ``YAK_`` and the name of the option in
capitals. An option overrides the environment variable, which overrides the default.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from yak_net.runtime.environment import EnvironmentCommand, with_variables

if TYPE_CHECKING:
    from yak_net.runtime.settings import BrokerSettings

HELP: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command(cls=EnvironmentCommand, context_settings={**HELP, "auto_envvar_prefix": "YAK"})
@click.option("--node-id", default="n1", show_default=True, metavar="ID", help="Broker id.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Address to listen on.  [default: 127.0.0.1:8080]"
)
@click.option("--host", metavar="HOST", help="Host to listen on (instead of --listen).")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port (instead of --listen); 0: a free port.",
)
@click.option(
    "--advertised-url", default="", metavar="URL",
    help="URL for clients.  [default: the listen address]",
)
@click.option(
    "--peer-url", default="", metavar="URL",
    help="URL for other brokers.  [default: the URL for clients]",
)
@click.option(
    "--brokers", default="", metavar="n1=URL,...", help="Ids and peer URLs of all brokers."
)
@click.option(
    "--followers", default="", metavar="URL,...", help="Follower peer URLs (instead of --brokers)."
)
@click.option(
    "--role",
    type=click.Choice(["leader", "follower"]),
    help="Initial role: the leader creates the cluster and campaigns first.",
)
@click.option(
    "--redis",
    "--redis-url",
    "redis",
    envvar=["YAK_REDIS", "YAK_REDIS_URL"],
    default="redis://127.0.0.1:6379/0",
    show_default=True,
    metavar="URL",
    help="Metadata store.",
)
@click.option("--cluster", default="yak", show_default=True, metavar="NAME", help="Cluster name.")
@click.option(
    "--data-dir",
    default=".yak/broker",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the log.",
)
@click.option(
    "--flush",
    type=click.Choice(["batch", "os"]),
    default="batch",
    show_default=True,
    help="Acknowledge records that the ISR flushed (batch) or wrote (os).",
)
@click.option(
    "--min-isr",
    type=click.IntRange(1),
    help="Minimum ISR size of a new cluster.  [default: 2; 1 for one broker]",
)
@click.option(
    "--config",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a period or limit, such as lease_us=3000000; repeatable.",
)
@click.option(
    "--profile",
    type=click.Choice(["lan", "wan"]),
    default="lan",
    show_default=True,
    help="Periods and time limits; wan: lease 10 s, renewed each second, store timeout 2 s.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Record all events and effects, for yak sim replay.",
)
@click.option("--insecure", is_flag=True, help="Allow a non-loopback address, without encryption.")
@click.option(
    "--check-records", is_flag=True, help="Decode records on arrival; refuse damaged ones."
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Further name of this broker, such as a proxy's; repeatable.",
)
@click.option("--verbose", is_flag=True, help="Log each note of the broker.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of log lines; json: one object a line.",
)
def broker(**options: Any) -> None:
    """Run one broker.

    Without --brokers and --followers, the broker is a cluster of one. The environment variables
    YAK_ROLE, YAK_NODE_ID, YAK_HOST, YAK_PORT, YAK_FOLLOWERS, YAK_REDIS_URL and YAK_DATA_DIR are
    sufficient to start a leader and its followers.

    The URL of --redis is redis://, rediss:// (TLS), valkey://, valkeys://, unix:// or
    redis+sentinel://HOST:PORT,.../SERVICE. The password may be in the variable YAK_REDIS_PASSWORD,
    or in the file that YAK_REDIS_PASSWORD_FILE names; the user is in YAK_REDIS_USERNAME.

    Exit codes: 0 stopped, 1 halted, 2 invalid options.
    """
    from yak_net.runtime.quick_import import quick_import
    from yak_net.runtime.settings import SettingsError

    verbose, log_format = bool(options.pop("verbose")), options.pop("log_format")
    try:
        settings = _settings(options)
    except SettingsError as error:
        message = with_variables(str(error), click.get_current_context())
        raise click.UsageError(message) from error
    quick_import("yak_net.broker.process")
    from yak_net.broker.process import run
    from yak_net.runtime.logs import LogFormat

    sys.exit(run(settings, verbose=verbose, log_format=LogFormat(log_format)))


def _url(text: str) -> str:
    """Return the URL of an option that may be empty. Raises SettingsError."""
    from yak_net.runtime.settings import parse_url

    return parse_url(text) if text else ""


def _settings(options: dict[str, Any]) -> BrokerSettings:
    """Return the settings of the options. Raises SettingsError."""
    from yak_net.runtime import settings

    host, port = options["host"] or settings.HOST, options["port"]
    port = settings.PORT if port is None else port
    if options["listen"]:
        host, port = settings.parse_listen(options["listen"])
    lifeline, link_gate = (os.environ.get(f"YAK_{name}", "") for name in ("LIFELINE", "LINK_GATE"))
    return settings.check(
        settings.BrokerSettings(
            node_id=options["node_id"],
            host=host,
            port=port,
            advertised_url=_url(options["advertised_url"]),
            peer_url=_url(options["peer_url"]),
            brokers=settings.parse_brokers(options["brokers"]),
            followers=settings.parse_urls(options["followers"]),
            role=settings.Role(options["role"]) if options["role"] else None,
            redis_url=settings.store_url(options["redis"]),
            cluster=options["cluster"],
            data_dir=options["data_dir"],
            flush=options["flush"],
            min_isr=options["min_isr"],
            config=settings.parse_config(options["config"], settings.Profile(options["profile"])),
            trace=options["trace"],
            insecure=options["insecure"],
            check_records=options["check_records"],
            allowed_hosts=options["allow_host"],
            reuse_port=os.environ.get("YAK_REUSE_PORT") == "1",
            lifeline=int(lifeline) if lifeline.isdigit() else None,
            link_gate=int(link_gate) if link_gate.isdigit() else None,
        )
    )
