"""Errors as RFC 9457 problems, and which HTTP status each has; must never reveal internals.

A handler raises a :class:`Problem`; the middleware gives it, and whatever else goes wrong, the one
form that clients know. What a problem of a produce request says about the records is kept with the
request: a handler calls :func:`stage` whenever that changes, so that even an error that nobody
foresaw is answered truthfully.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
import structlog
from aiohttp import web

from yak_core.errors import RETRIABLE, ErrorCode, Outcome
from yak_core.ids import Epoch, NodeId, Offset
from yak_net.http.gateway import Gateway, Phase

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:yak:error:"
RETRY_AFTER_S: Final = 1
DETAIL_MAX: Final = 400
"""Characters of a detail: it may quote what a client sent."""
COMMON_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

UNKNOWN_SERVER_ERROR: Final = (-1, "UNKNOWN_SERVER_ERROR")
UNSUPPORTED_COMPRESSION: Final = (76, "UNSUPPORTED_COMPRESSION_TYPE")
"""Kafka's numbers and names for what the core itself never answers."""

OUTCOME: Final = web.RequestKey("outcome", Outcome)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("yak.http")


@dataclass(frozen=True)
class Kind:
    """How an error is told over HTTP: its status, and what to do about it."""

    status: int
    title: str
    advice: str = ""


KINDS: Final[Mapping[ErrorCode, Kind]] = {
    ErrorCode.NONE: Kind(200, "Success"),
    ErrorCode.OFFSET_OUT_OF_RANGE: Kind(
        416, "No such offset", "read from log_start_offset up, or from earliest or latest"
    ),
    ErrorCode.CORRUPT_MESSAGE: Kind(422, "The records are damaged"),
    ErrorCode.NOT_LEADER_OR_FOLLOWER: Kind(421, "This broker is not the leader"),
    ErrorCode.REQUEST_TIMED_OUT: Kind(
        504, "Not confirmed in time", "read the log to find out what became of the records"
    ),
    ErrorCode.MESSAGE_TOO_LARGE: Kind(413, "Too large", "send fewer or smaller records at once"),
    ErrorCode.NETWORK_EXCEPTION: Kind(503, "The broker did not answer", "try again later"),
    ErrorCode.NOT_ENOUGH_REPLICAS: Kind(503, "Too few replicas in sync", "try again later"),
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Kind(
        503,
        "Too few replicas in sync after the append",
        "read the log to find out what became of the records",
    ),
    ErrorCode.INVALID_REQUIRED_ACKS: Kind(
        400, "No such acks", 'acks is "all" (the same as -1), 1 or 0'
    ),
    ErrorCode.INVALID_REQUEST: Kind(400, "Bad request"),
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: Kind(409, "An earlier batch is missing"),
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER: Kind(200, "Written before"),
    ErrorCode.INVALID_PRODUCER_EPOCH: Kind(409, "Another producer has taken over"),
    ErrorCode.KAFKA_STORAGE_ERROR: Kind(500, "The broker's storage failed", "see its log"),
    ErrorCode.FENCED_LEADER_EPOCH: Kind(409, "The leader epoch is over", "ask for the leader"),
    ErrorCode.UNKNOWN_LEADER_EPOCH: Kind(503, "The leader epoch is not known yet", "try again"),
    ErrorCode.OFFSET_NOT_AVAILABLE: Kind(
        503, "The new leader does not know the latest offset yet", "try again"
    ),
    ErrorCode.THROTTLING_QUOTA_EXCEEDED: Kind(429, "The broker is busy", "try again later"),
}
"""Every code that the core can answer with. 421 becomes 503 where there is nobody to go to."""


class Problem(Exception):
    """An answer that is an error. ``more`` are members of the body beyond the usual ones."""

    def __init__(
        self,
        status: int,
        error: tuple[int, str],
        title: str,
        detail: str,
        *,
        retriable: bool = False,
        more: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        elsewhere: str = "",
    ) -> None:
        super().__init__(f"{status} {error[1]}: {detail}")
        self.status = status
        self.error_code, self.error = error
        self.title = title
        self.detail = detail
        self.retriable = retriable
        self.more = dict(more or {})
        self.headers = dict(headers or {})
        self.elsewhere = elsewhere
        """URL of the broker to go to with the same request, if there is one."""


def problem(
    error: ErrorCode,
    detail: str = "",
    *,
    status: int | None = None,
    more: Mapping[str, object] | None = None,
) -> Problem:
    """The problem of a code, with its own status unless another one is given."""
    kind = KINDS[error]
    return Problem(
        kind.status if status is None else status,
        (int(error), error.name),
        kind.title,
        detail or kind.advice or kind.title,
        retriable=error in RETRIABLE,
        more=more,
    )


def answered(
    gateway: Gateway,
    error: ErrorCode,
    *,
    leader: NodeId | None,
    leader_epoch: Epoch,
    hw: Offset | None = None,
    outcome: Outcome | None = None,
    detail: str = "",
    more: Mapping[str, object] | None = None,
) -> Problem:
    """The problem of an answer that the node gave.

    Nobody is sent to another broker with records that may have been written: clients repeat a
    request on 421 without asking, and the records would be there twice.
    """
    body: dict[str, object] = {"leader": None, "leader_epoch": leader_epoch}
    if leader is not None:
        body["leader"] = {"id": leader, "url": gateway.url_of(leader) or None}
    if hw is not None:
        body["high_watermark"] = hw
    found = problem(error, detail, more={**body, **(more or {})})
    if error is ErrorCode.NOT_LEADER_OR_FOLLOWER:
        url = gateway.url_of(leader)
        if leader in (None, gateway.node_id):
            found.status = 503
            found.detail = detail or "this broker knows of no leader: try again later"
        elif outcome is Outcome.UNKNOWN:
            found.status = 503
            found.detail = detail or f"{leader} has become the leader meanwhile"
        else:
            found.elsewhere = url
            found.detail = detail or f"send it to the leader, {leader}" + (url and f" at {url}")
    if outcome is Outcome.UNKNOWN:
        found.detail += "; the records may or may not be in the log"
    return found


def gone(phase: Phase, sent: bool, *, produce: bool) -> Problem:
    """The problem of a broker that stopped, or has not started, before it answered."""
    detail = "the broker " + ("has just stopped" if phase is Phase.RUNNING else f"is {phase}")
    detail += ": ask another one, or try again later"
    if sent and produce:
        detail += "; the records may or may not be in the log"
    return problem(ErrorCode.NETWORK_EXCEPTION, detail)


def stage(request: web.Request, outcome: Outcome) -> None:
    """Note what a problem of this produce request would have to say about its records."""
    request[OUTCOME] = outcome


def rendered(request: web.Request, problem: Problem) -> web.Response:
    """The problem as an answer to this request."""
    outcome = request.get(OUTCOME)
    if problem.elsewhere and request.query.getall("redirect", []) == ["1"]:
        location = problem.elsewhere.rstrip("/") + _ascii(request.rel_url.raw_path_qs)
        return web.Response(status=307, headers={**COMMON_HEADERS, "Location": location})
    headers = {**COMMON_HEADERS, **problem.headers}
    if problem.status in (429, 503) and outcome is not Outcome.UNKNOWN:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    body: dict[str, object] = {
        "type": TYPE_PREFIX + problem.error,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail[:DETAIL_MAX],
        "instance": _ascii(request.rel_url.raw_path),
        "error_code": problem.error_code,
        "error": problem.error,
        "retriable": problem.retriable,
    }
    if outcome is not None:
        body["outcome"] = outcome.name.lower()
    body.update(problem.more)
    return web.Response(
        body=msgspec.json.encode(body) + b"\n",
        status=problem.status,
        headers=headers,
        content_type=CONTENT_TYPE,
    )


def _ascii(target: str) -> str:
    """A target as it may stand in an answer; the slower of aiohttp's parsers lets any byte pass."""
    return target.encode("ascii", "replace").decode()


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with a problem whatever goes wrong before an answer has begun."""
    try:
        return await handler(request)
    except Problem as raised:
        return rendered(request, raised)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return rendered(request, _of_http(error))
    except web.RequestPayloadError:
        return rendered(request, problem(ErrorCode.INVALID_REQUEST, "the body is cut or garbled"))
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        path = ascii(request.path)[:DETAIL_MAX]
        log.exception("a request failed", method=request.method, path=path)
        if request.writer.output_size > 0:
            raise  # the answer, or a WebSocket, has begun; the connection ends here
        return rendered(request, _unforeseen())


def _of_http(error: web.HTTPException) -> Problem:
    """What aiohttp refuses by itself."""
    if error.status == 404:
        return _refused(error, "there is no such endpoint: GET / lists them")
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        return _refused(error, f"this endpoint takes {allowed} only", {"Allow": allowed})
    if error.status == 413:
        return problem(ErrorCode.MESSAGE_TOO_LARGE, "the body is too large: send fewer records")
    if error.status >= 500:
        return _unforeseen(error.status)
    return _refused(error, error.reason)


def _refused(
    error: web.HTTPException, detail: str, headers: Mapping[str, str] | None = None
) -> Problem:
    code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
    return Problem(error.status, code, error.reason, detail, headers=headers)


def _unforeseen(status: int = 500) -> Problem:
    return Problem(
        status, UNKNOWN_SERVER_ERROR, "Internal error", "this is a bug; the broker's log has more"
    )
