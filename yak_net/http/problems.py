"""Errors as RFC 9457 problems, and the HTTP status of each error code.

A handler raises a :class:`Problem`. The middleware converts it, and each other exception, to the
same JSON form; internal details go to the log only. A produce request carries the outcome of its
records: the handler calls :func:`set_outcome` when the outcome changes. So an unexpected exception
also returns the correct outcome.
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
"""Maximum length of ``detail`` in characters, which may quote the request."""
COMMON_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

UNKNOWN_SERVER_ERROR: Final = (-1, "UNKNOWN_SERVER_ERROR")
UNSUPPORTED_COMPRESSION: Final = (76, "UNSUPPORTED_COMPRESSION_TYPE")
"""Kafka error codes and names of errors that the core does not return."""

OUTCOME: Final = web.RequestKey("outcome", Outcome)

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("yak.http")


@dataclass(frozen=True)
class HttpForm:
    """HTTP form of an error code; ``advice`` is the default ``detail`` and says what to do."""

    status: int
    title: str
    advice: str = ""


HTTP_FORMS: Final[Mapping[ErrorCode, HttpForm]] = {
    ErrorCode.NONE: HttpForm(200, "Success"),
    ErrorCode.OFFSET_OUT_OF_RANGE: HttpForm(
        416, "Offset out of range", "fetch from log_start_offset, earliest or latest"
    ),
    ErrorCode.CORRUPT_MESSAGE: HttpForm(422, "Damaged records"),
    ErrorCode.NOT_LEADER_OR_FOLLOWER: HttpForm(421, "Not the leader"),
    ErrorCode.REQUEST_TIMED_OUT: HttpForm(
        504, "Not acknowledged before the timeout", "read the log to see if the records are there"
    ),
    ErrorCode.MESSAGE_TOO_LARGE: HttpForm(
        413, "Request too large", "send fewer or smaller records"
    ),
    ErrorCode.NETWORK_EXCEPTION: HttpForm(503, "Broker unavailable", "retry later"),
    ErrorCode.NOT_ENOUGH_REPLICAS: HttpForm(503, "Not enough in-sync replicas", "retry later"),
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: HttpForm(
        503,
        "Not enough in-sync replicas after the append",
        "read the log to see if the records are there",
    ),
    ErrorCode.INVALID_REQUIRED_ACKS: HttpForm(
        400, "Invalid acks", 'acks must be "all" (the same as -1), 1 or 0'
    ),
    ErrorCode.INVALID_REQUEST: HttpForm(400, "Invalid request"),
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: HttpForm(409, "Sequence number out of order"),
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER: HttpForm(200, "Duplicate batch"),
    ErrorCode.INVALID_PRODUCER_EPOCH: HttpForm(409, "Stale producer epoch"),
    ErrorCode.KAFKA_STORAGE_ERROR: HttpForm(500, "Storage error", "see the broker's log"),
    ErrorCode.UNKNOWN_PRODUCER_ID: HttpForm(409, "Unknown producer id"),
    ErrorCode.FENCED_LEADER_EPOCH: HttpForm(
        409, "Stale leader epoch", "find the current leader with GET /v1/cluster"
    ),
    ErrorCode.UNKNOWN_LEADER_EPOCH: HttpForm(503, "Unknown leader epoch", "retry later"),
    ErrorCode.OFFSET_NOT_AVAILABLE: HttpForm(503, "Latest offset not available yet", "retry later"),
    ErrorCode.THROTTLING_QUOTA_EXCEEDED: HttpForm(429, "Broker busy", "retry later"),
}
"""HTTP form of each code that the core returns. 421 becomes 503 if no other broker is ready."""


class Problem(Exception):
    """An error response; ``more`` holds additional members of the body."""

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
        redirect_url: str = "",
    ) -> None:
        super().__init__(f"{status} {error[1]}: {detail}")
        self.status = status
        self.error_code, self.error = error
        self.title = title
        self.detail = detail
        self.retriable = retriable
        self.more = dict(more or {})
        self.headers = dict(headers or {})
        self.redirect_url = redirect_url
        """URL of the broker for the same request; "" if none is known."""


def problem(
    error: ErrorCode,
    detail: str = "",
    *,
    status: int | None = None,
    more: Mapping[str, object] | None = None,
) -> Problem:
    """Return the problem of an error code; ``status`` replaces the code's own status."""
    form = HTTP_FORMS[error]
    return Problem(
        form.status if status is None else status,
        (int(error), error.name),
        form.title,
        detail or form.advice or form.title,
        retriable=error in RETRIABLE,
        more=more,
    )


def problem_of_response(
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
    """Return the problem of a response of the node.

    A request whose outcome is unknown gets 503 instead of 421: clients repeat a request
    automatically after 421, and this could write the records twice.
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
            found.detail = detail or "this broker does not know the leader; retry later"
        elif outcome is Outcome.UNKNOWN:
            found.status = 503
            found.detail = detail or f"leadership moved to {leader} before the request completed"
        else:
            found.redirect_url = url
            where = f"{leader} at {url}" if url else leader
            found.detail = detail or f"send the request to the leader {where}"
    if outcome is Outcome.UNKNOWN:
        found.detail += "; the records may or may not be in the log"
    return found


def stopped_problem(phase: Phase, sent: bool, *, produce: bool) -> Problem:
    """Return the problem of a request that got no response: the broker is starting or stopping."""
    detail = "the broker " + ("has just stopped" if phase is Phase.RUNNING else f"is {phase}")
    detail += "; retry later, or send the request to another broker"
    if sent and produce:
        detail += "; the records may or may not be in the log"
    return problem(ErrorCode.NETWORK_EXCEPTION, detail)


def set_outcome(request: web.Request, outcome: Outcome) -> None:
    """Set the outcome that an error response to this produce request reports."""
    request[OUTCOME] = outcome


def render(request: web.Request, problem: Problem) -> web.Response:
    """Return the response for a problem of this request: JSON, or a redirect (307) on request."""
    outcome = request.get(OUTCOME)
    if problem.redirect_url and request.query.getall("redirect", []) == ["1"]:
        location = problem.redirect_url.rstrip("/") + _ascii(request.rel_url.raw_path_qs)
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
    response = web.Response(
        body=msgspec.json.encode(body) + b"\n",
        status=problem.status,
        headers=headers,
        content_type=CONTENT_TYPE,
    )
    if headers.get("Connection") == "close":
        response.force_close()  # aiohttp does not look at the header
    return response


def _ascii(target: str) -> str:
    """Return a request target in ASCII; aiohttp's Python parser accepts any byte in a target."""
    return target.encode("ascii", "replace").decode()


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert each exception that occurs before the response has started to a problem."""
    try:
        return await handler(request)
    except Problem as error:
        return render(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return render(request, _problem_of_http_error(error))
    except web.RequestPayloadError:
        return render(
            request,
            problem(ErrorCode.INVALID_REQUEST, "the request body is incomplete or malformed"),
        )
    except ConnectionError:
        raise  # the client has disconnected
    except Exception:
        path = ascii(request.path)[:DETAIL_MAX]
        log.exception("request failed", method=request.method, path=path)
        if request.writer.output_size > 0:
            raise  # too late for a problem: close the connection or the WebSocket
        return render(request, _internal_error())


def _problem_of_http_error(error: web.HTTPException) -> Problem:
    """Return the problem of an error that aiohttp raised itself."""
    if error.status == 404:
        return _invalid_request(error, "no such endpoint; GET / lists the endpoints")
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        detail = f"method not allowed; this endpoint supports {allowed}"
        return _invalid_request(error, detail, {"Allow": allowed})
    if error.status == 413:
        return problem(
            ErrorCode.MESSAGE_TOO_LARGE, "the request body is too large; send fewer records"
        )
    if error.status >= 500:
        return _internal_error(error.status)
    return _invalid_request(error, error.reason)


def _invalid_request(
    error: web.HTTPException, detail: str, headers: Mapping[str, str] | None = None
) -> Problem:
    code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
    return Problem(error.status, code, error.reason, detail, headers=headers)


def _internal_error(status: int = 500) -> Problem:
    return Problem(
        status, UNKNOWN_SERVER_ERROR, "Internal error", "a bug in the broker; see the broker's log"
    )
