"""Requests of the command ``yak cluster`` to the supervisor of the cluster of this folder."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

from yak_net.cluster.cli_common import CommandLineError, Failed, NotRunning
from yak_net.runtime.state_file import ClusterState, StateError, read_state, state_path

CALL_TIMEOUT_S: Final = 90.0
"""Time limit of a request: a restart takes a graceful stop and a start."""


def cluster_state() -> ClusterState | None:
    """Return the state of the cluster of this folder; None if no cluster runs. Raises Failed."""
    try:
        return read_state(state_path())
    except StateError as error:
        raise Failed(str(error)) from error


def call_supervisor(
    method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Send a request to the supervisor of this folder. Raises Failed, CommandLineError."""
    state = cluster_state()
    if state is None:
        raise Failed(
            f"no cluster is running (no state file {state_path()}); start one with yak cluster up"
        )
    return call(state, method, path, body)


def call(
    state: ClusterState, method: str, path: str, given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Send a request to a supervisor; return the JSON response. Raises Failed, CommandLineError."""
    # Not urllib, which would use a configured HTTP proxy.
    host, _, port = state.control.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CALL_TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {state.token}", "Content-Type": "application/json"}
        content = None if given is None else json.dumps(given)
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        status, body = answer.status, dict(json.loads(answer.read()))
    except TimeoutError as error:
        raise Failed(
            f"no response of the supervisor (pid {state.supervisor}) within "
            f"{CALL_TIMEOUT_S:g} s; see yak cluster status"
        ) from error
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        status, body = 0, {"error": error}
    finally:
        connection.close()
    if status in (0, 401):
        raise NotRunning(
            f"no cluster is running: its supervisor (pid {state.supervisor}) does not answer at "
            f"{state.control}; start one with yak cluster up"
        )
    if status != 200:
        kind = CommandLineError if status in (400, 404) else Failed
        raise kind(str(body["error"]))
    return body
