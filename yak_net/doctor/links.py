"""Check of the links between local brokers: faults that ``yak cluster`` has put there."""

from __future__ import annotations

from typing import Any

from yak_net.cluster.cli_common import Failed
from yak_net.cluster.faults import FaultKind
from yak_net.cluster.supervisor_calls import call
from yak_net.doctor.results import Check, Result, Severity
from yak_net.runtime.state_file import ClusterState


def check_links(local: ClusterState) -> list[Result]:
    """Ask the supervisor of a cluster on this machine for the faults that it injects."""
    subject = f"cluster {local.cluster}"
    try:
        found = call(local, "GET", "/faults")["faults"]
    except Failed as error:
        problem, _, advice = error.message.partition("; ")
        advice = advice or "see yak cluster status"
        return [Result(Check.LINKS, Severity.WARNING, subject, problem, advice)]
    return [_result(fault) for fault in found]


def _result(fault: dict[str, Any]) -> Result:
    target = str(fault["target"])
    problem = "these links are disconnected by yak cluster partition"
    if fault["kind"] == FaultKind.DISCONNECT:
        problem = "these links are disconnected one way by yak cluster partition"
    if fault["kind"] == FaultKind.SLOW_LINK:
        delay, rate = fault["delay_us"], fault["bytes_per_s"]
        how = [f"a delay of {delay / 1000:g} ms"] if delay else []
        how += [f"at most {rate} bytes per second"] if rate else []
        problem = f"these links have {' and '.join(how)} by yak cluster slow"
    advice = f"run yak cluster heal '{target}', or yak cluster heal for all links"
    return Result(Check.LINKS, Severity.WARNING, target, problem, advice)
