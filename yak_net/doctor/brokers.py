"""Checks of running brokers: who answers where, whether records are committed, and clocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from yak_net.cluster.errors import ClusterError
from yak_net.doctor.clocks import clock_result
from yak_net.doctor.results import Check, Result, Severity
from yak_net.observe.replicas import Description, describe
from yak_net.runtime.connection_errors import connection_error
from yak_net.runtime.wire import CLUSTER_HEADER, NODE_HEADER, certificates

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S: Final = 1.0


@dataclass(frozen=True)
class Answer:
    """What answered at a URL; ``failure`` says why nothing did.

    ``node`` and ``cluster`` are empty if the program is no broker. ``date`` is its clock, in whole
    seconds, with the times of this machine before and after; None if it sent none.
    """

    url: str
    node: str = ""
    cluster: str = ""
    failure: str = ""
    date: tuple[float, float, float] | None = None


async def answer_at(session: aiohttp.ClientSession, url: str) -> Answer:
    """Return what answers at the URL of a broker."""
    import aiohttp

    before = time.time()
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            session.get(f"{url}/livez", ssl=certificates(url), allow_redirects=False) as reply,
        ):
            node = reply.headers.get(NODE_HEADER, "")
            cluster = reply.headers.get(CLUSTER_HEADER, "")
            try:
                date = parsedate_to_datetime(reply.headers["Date"]).timestamp()
            except (KeyError, ValueError):
                return Answer(url, node, cluster)
            return Answer(url, node, cluster, date=(before, time.time(), date))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(url, failure=connection_error(error))


async def check_brokers(servers: Sequence[str], cluster: str | None) -> list[Result]:
    """Check the brokers at the URLs ``servers``, and those that they know."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        describing = asyncio.ensure_future(_description(servers))
        given = await asyncio.gather(*(answer_at(session, url) for url in servers))
        found = await describing
        results = [result for each in given if (result := _given(each, cluster)) is not None]
        if isinstance(found, str):
            if not results:
                problem, _, advice = found.partition("; ")
                results.append(Result(Check.BROKER, Severity.ERROR, servers[0], problem, advice))
            return results
        urls = {row.id: row.url for row in found.replicas if row.url}
        known = {each.url: each for each in given}
        others = [url for url in urls.values() if url not in known]
        for each in await asyncio.gather(*(answer_at(session, url) for url in others)):
            known[each.url] = each
    running = {each.node: each for each in given if each.node}
    for node, url in urls.items():
        results += _advertised(node, known[url], running, found.cluster)
    results += _clocks(each for each in known.values() if each.node)
    return [*results, *_health(found)]


async def _description(servers: Sequence[str]) -> Description | str:
    """Return the state of the cluster, or why it is not known."""
    try:
        return await describe(servers)
    except ClusterError as error:
        return str(error)


def _given(answer: Answer, cluster: str | None) -> Result | None:
    """Return what is wrong at a URL that was given, or that a broker of this cluster answers."""
    if answer.failure:
        return Result(
            Check.BROKER, Severity.ERROR, answer.url, f"no broker answers: {answer.failure}",
            "start the broker, or check the address and the firewall",
        )  # fmt: skip
    if not answer.node:
        return Result(
            Check.BROKER, Severity.ERROR, answer.url, "the program that answers is no YAK broker",
            "correct the address",
        )  # fmt: skip
    if cluster and answer.cluster != cluster:
        return Result(
            Check.CLUSTER_NAME, Severity.ERROR, answer.url,
            f"{answer.node} belongs to cluster {answer.cluster}, expected {cluster}",
            "correct the address, or --cluster (YAK_CLUSTER)",
        )  # fmt: skip
    return None


def _advertised(
    node: str, answer: Answer, running: Mapping[str, Answer], cluster: str
) -> list[Result]:
    """Check that the broker answers at the URL that it advertises to clients."""
    subject = answer.url
    advice = (
        f"start {node} with --advertised-url (YAK_ADVERTISED_URL) set to a URL that this machine "
        "reaches, or open the way to it (host name, route, firewall)"
    )
    if answer.failure and node in running:
        return [
            Result(
                Check.ADVERTISED, Severity.ERROR, subject,
                f"{node} answers at {running[node].url}, and not at the URL that it advertises: "
                f"{answer.failure}",
                advice,
            )
        ]  # fmt: skip
    if answer.failure:
        return [
            Result(
                Check.ADVERTISED, Severity.ERROR, subject,
                f"{node} cannot be reached at the URL that it advertises: {answer.failure}",
                f"start {node} if it is down; if it runs, {advice}",
            )
        ]  # fmt: skip
    if (answer.node, answer.cluster) != (node, cluster):
        found = f"{answer.node} of cluster {answer.cluster}" if answer.node else "no broker"
        return [
            Result(
                Check.ADVERTISED, Severity.ERROR, subject,
                f"at the URL that {node} advertises, {found} answers", advice,
            )
        ]  # fmt: skip
    return [Result(Check.ADVERTISED, Severity.OK, subject, f"{node} answers")]


def _clocks(answers: Iterable[Answer]) -> list[Result]:
    return [
        clock_result(each.node, before, after, date, date + 1)
        for each in answers
        if each.date is not None
        for before, after, date in (each.date,)
    ]


def _health(found: Description) -> list[Result]:
    """Return what the brokers say about themselves."""
    subject = f"cluster {found.cluster}"
    results = []
    if not found.ready:
        problem, _, advice = found.reason.partition("; ")
        advice = advice or "see yak describe, and docs/runbook.md"
        results.append(Result(Check.CLUSTER, Severity.ERROR, subject, problem, advice))
    for row in found.replicas:
        if row.up and row.reason:
            problem, _, advice = row.reason.partition("; ")
            advice = advice or "see the log of this broker, and docs/runbook.md"
            results.append(Result(Check.BROKER, Severity.WARNING, row.id, problem, advice))
        elif not row.url:
            results.append(
                Result(
                    Check.BROKER, Severity.ERROR, row.id, "has not registered",
                    "start this broker",
                )
            )  # fmt: skip
        if found.ready and not row.in_isr:
            results.append(
                Result(
                    Check.CLUSTER, Severity.WARNING, row.id,
                    f"is not in the ISR, {'lag unknown' if row.lag is None else f'lag {row.lag}'}",
                    "start it if it is down; otherwise it joins when it has caught up",
                )
            )  # fmt: skip
    if found.ready:
        text = f"leader {found.leader}, epoch {found.epoch}, ISR {' '.join(found.isr)}"
        results.append(Result(Check.CLUSTER, Severity.OK, subject, text))
    return results
