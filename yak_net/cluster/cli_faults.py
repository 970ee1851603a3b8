"""The commands ``yak cluster partition | slow | heal | wipe``: faults of the running cluster.

The words are those of the simulator: ``yak cluster partition n1 n2,store`` is the fault
``n1|n2,store`` of kind ``partition`` in a plan.
"""

from __future__ import annotations

import sys
from typing import Any, Final
from urllib.parse import quote

import click

from yak_net.client.cli_types import Time
from yak_net.cluster.cli_common import HELP, CommandLineError
from yak_net.cluster.supervisor_calls import call_supervisor

NOT_CONFIRMED: Final = 1
_ENDS: Final = "Names: broker ids, store (the metadata), leader, brokers; several with commas."

ONE_WAY: Final = click.option(
    "--one-way", is_flag=True, help="Only from the first side to the second."
)
FOR: Final = click.option(
    "--for", "for_s", type=Time(), metavar="TIME", help="Heal after this time, such as 10s."
)


@click.command("partition", context_settings=HELP, epilog=_ENDS)
@click.argument("one", metavar="A")
@click.argument("other", metavar="[B]", required=False)
@ONE_WAY
@FOR
def partition_command(one: str, other: str | None, one_way: bool, for_s: float | None) -> None:
    """Drop all messages between A and B.

    A is a broker or several, such as n1 or n1,n2. Without B, A loses the other brokers and the
    metadata store. With --one-way, only messages from A to B are dropped. The sides can also be
    given as in a plan: 'n1|n2,store', or 'n1>n2' for one way.

    Clients still reach every broker. The fault stays until yak cluster heal, also when a broker is
    started again.

    Exit codes: 0 all brokers that run have confirmed, 1 one did not (or is paused), 2 no such name.
    """
    one, other, one_way = _sides(one, other, one_way)
    _disturb({"one": one, "other": other, "two_way": not one_way}, for_s)


@click.command("slow", context_settings=HELP, epilog=_ENDS)
@click.argument("one", metavar="A")
@click.argument("other", metavar="[B]", required=False)
@click.option(
    "--delay",
    type=Time(),
    metavar="TIME",
    help="Delay of each message, such as 50ms.",
)
@click.option(
    "--bytes-per-s",
    type=click.IntRange(1),
    metavar="N",
    help="Maximum number of bytes per second.",
)
@ONE_WAY
@FOR
def slow_command(
    one: str, other: str | None, delay: float | None, bytes_per_s: int | None, one_way: bool,
    for_s: float | None,
) -> None:  # fmt: skip
    """Delay the messages between A and B.

    Without B, those between A and the other brokers.

    Exit codes: 0 all brokers that run have confirmed, 1 one did not (or is paused), 2 invalid.
    """
    if delay is None and bytes_per_s is None:
        raise click.UsageError("give --delay, such as --delay 50ms, or --bytes-per-s")
    one, other, one_way = _sides(one, other, one_way)
    body = {"one": one, "other": other, "two_way": not one_way, "bytes_per_s": bytes_per_s or 0}
    _disturb(body | {"delay_us": round((delay or 0) * 1e6)}, for_s)


@click.command("heal", context_settings=HELP)
@click.argument("one", metavar="[A]", required=False)
@click.argument("other", metavar="[B]", required=False)
@click.option("--one-way", is_flag=True, help="The fault from A to B.")
def heal_command(one: str | None, other: str | None, one_way: bool) -> None:
    """End the faults on links: all, or those between A and B.

    A and B are written as for partition or slow.

    Exit codes: 0 all brokers that run have confirmed, 1 one did not, 2 there is no such fault.
    """
    target = ""
    if one is not None:
        if other is not None:
            one = f"{one}{'>' if one_way else '|'}{other}"
        target = one
    found = call_supervisor("POST", "/faults/heal", {"target": target})
    for healed in found["healed"]:
        click.echo(f"healed {healed}")
    if not found["healed"]:
        click.echo("no fault on any link")
    _show(found)


@click.command("wipe", context_settings=HELP)
@click.argument("node", metavar="NODE")
def wipe_command(node: str) -> None:
    """Delete the data of one broker that is down.

    This is as if its disk was replaced: after yak cluster restart NODE, the broker replicates the
    log from its peers. To delete the data of the whole cluster, use yak cluster down --wipe.

    Exit codes: 0 deleted, 1 the broker runs, 2 no such broker.
    """
    path = call_supervisor("POST", f"/nodes/{quote(node, safe='')}/wipe")["path"]
    click.echo(f"deleted {path}")


def _sides(one: str, other: str | None, one_way: bool) -> tuple[str, str, bool]:
    """Return the two sides, also of one word as in a plan. Raises CommandLineError."""
    for sign in "|>":
        first, found, second = one.partition(sign)
        if not found:
            continue
        if other is not None or not first or not second:
            raise CommandLineError(f"expected two sides such as 'n1{sign}n2', got {one!r}")
        return first, second, one_way or sign == ">"
    return one, other or "", one_way


def _disturb(body: dict[str, Any], for_s: float | None) -> None:
    if for_s is not None:
        body["for_us"] = round(for_s * 1e6)
    found = call_supervisor("POST", "/faults/disturb", body)
    click.echo(f"{found['kind']} {found['target']}")
    _show(found)


def _show(found: dict[str, Any]) -> None:
    """Say which brokers apply the faults later; exit with 1 if one of them runs."""
    for each in found["later"]:
        click.echo(f"not in force yet at {each}: it applies the faults when it runs", err=True)
    running = [each for each in found["later"] if not each.endswith("(down)")]
    sys.exit(NOT_CONFIRMED if running else 0)
