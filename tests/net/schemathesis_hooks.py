"""Hooks of schemathesis, which loads this module: no request waits for records."""

from __future__ import annotations

from typing import Any

import schemathesis

from yak_net.http.json_bodies import TIMEOUT_MS_MAX

WAIT_MS_MAX = 50


@schemathesis.hook
def before_call(context: object, case: Any, kwargs: dict[str, Any]) -> None:
    """Shorten the wait of a fetch; an invalid one stays invalid."""
    wait_ms = str((case.query or {}).get("wait_ms"))
    if wait_ms.isdecimal() and WAIT_MS_MAX < int(wait_ms) <= TIMEOUT_MS_MAX:
        case.query["wait_ms"] = WAIT_MS_MAX
