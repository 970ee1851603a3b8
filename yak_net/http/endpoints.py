"""The endpoints of a broker: paths, parameters, bodies, answers and errors, in one table.

The router, the checks of query parameters and ``GET /openapi.json`` are made of this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from yak_core.config import MIB
from yak_net.http import answers
from yak_net.http.json_bodies import TIMEOUT_MS_MAX, ProduceBody
from yak_net.http.offset_answers import Offsets, Replicas

NUMBER_MAX: Final = 2**63 - 1
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
TEXT: Final = "text/plain"


@dataclass(frozen=True)
class Parameter:
    """A query parameter: an integer from 0 to ``most``, or text of the form ``pattern``."""

    name: str
    meaning: str
    default: int | str | None = None
    most: int = NUMBER_MAX
    pattern: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint; ``problems`` are the statuses of its errors besides COMMON_PROBLEMS.

    ``answer`` is the structure of a JSON answer; other answers have ``content``. ``not_ready`` says
    that 503 has the same structure as 200.
    """

    name: str
    method: str
    paths: tuple[str, ...]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: type[Struct] | None = None
    answer: type[Struct] | None = None
    content: str = JSON
    problems: tuple[int, ...] = ()
    not_ready: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events, which has no end of its own."""
        return self.content == EVENTS


COMMON_PROBLEMS: Final = (400, 403, 421, 500, 503)
"""Statuses of errors of each endpoint; 403 and 421 also for a foreign Origin or Host."""

REDIRECT: Final = Parameter("redirect", "1: redirect to the leader with 307.", "0", pattern="[01]")
OFFSET: Final = Parameter(
    "offset", "First offset: a number, earliest or latest.", "earliest",
    pattern="earliest|latest|[0-9]{1,19}",
)  # fmt: skip
MAX_BYTES: Final = Parameter("max_bytes", "Most bytes of batches.", 1 * MIB, 2**31 - 1)
WAIT_MS: Final = Parameter("wait_ms", "Milliseconds to wait for records.", 0, TIMEOUT_MS_MAX)
TIMESTAMP: Final = Parameter("timestamp", "Milliseconds since 1970.")
SCOPE: Final = Parameter(
    "scope", "All brokers, or this one alone.", "cluster", pattern="cluster|broker"
)

PRODUCE: Final = Endpoint(
    "produce", "POST", ("/v1/records", "/produce"), "Append records as one batch.", (REDIRECT,),
    ProduceBody, answers.Produced, problems=(307, 408, 409, 413, 415, 429, 504),
)  # fmt: skip
FETCH: Final = Endpoint(
    "fetch", "GET", ("/v1/records", "/fetch"), "Return committed records.",
    (OFFSET, MAX_BYTES, WAIT_MS, REDIRECT), answer=answers.Fetched,
    problems=(307, 409, 416, 422, 429),
)  # fmt: skip
STREAM_RECORDS: Final = Endpoint(
    "streamRecords", "GET", ("/v1/records/stream",), "Send committed records as events.",
    (OFFSET, REDIRECT), content=EVENTS, problems=(307, 409, 416, 429),
)  # fmt: skip
OFFSETS: Final = Endpoint(
    "offsets", "GET", ("/v1/offsets",), "Return the ends of the log, and the offset of a time.",
    (TIMESTAMP, REDIRECT), answer=Offsets, problems=(307,),
)  # fmt: skip
REPLICAS: Final = Endpoint(
    "replicas", "GET", ("/v1/replicas",), "Return log end, HW and lag of each replica.",
    answer=Replicas,
)  # fmt: skip
CLUSTER: Final = Endpoint(
    "cluster", "GET", ("/v1/cluster",), "Return the cluster, as this broker knows it.",
    answer=answers.Cluster,
)  # fmt: skip
STREAM_CLUSTER: Final = Endpoint(
    "streamCluster", "GET", ("/v1/cluster/stream",), "Send the state of all brokers as events.",
    (SCOPE,), content=EVENTS,
)  # fmt: skip
HEALTH: Final = Endpoint(
    "health", "GET", ("/health",), "Return the health and the state of this broker.",
    answer=answers.HealthAnswer, not_ready=True,
)  # fmt: skip
READY: Final = Endpoint(
    "ready", "GET", ("/readyz",), "Say whether acks=all can be committed.", answer=answers.Ready,
    not_ready=True,
)  # fmt: skip
LIVE: Final = Endpoint(
    "live", "GET", ("/livez",), "Say whether this broker has not halted.", answer=answers.Live,
    not_ready=True,
)  # fmt: skip
METRICS: Final = Endpoint(
    "metrics", "GET", ("/metrics",), "Return the metrics for Prometheus.", content=TEXT
)
OPENAPI: Final = Endpoint("openapi", "GET", ("/openapi.json",), "Return this description.")
INDEX: Final = Endpoint("index", "GET", ("/",), "Return the list of endpoints.", content=TEXT)

ENDPOINTS: Final = (
    *(PRODUCE, FETCH, STREAM_RECORDS, OFFSETS, REPLICAS, CLUSTER, STREAM_CLUSTER),
    *(HEALTH, READY, LIVE, METRICS, OPENAPI, INDEX),
)
