"""The middleware that counts HTTP requests and measures their time."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from yak_net.http.problems import Handler
from yak_net.metrics.counts import Counts

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
OTHER: Final = "other"
"""Label of a method or path that is none of ours: a client must not be able to make new ones."""
ABORTED: Final = "aborted"
"""Status of a request whose client disconnected before the answer."""
STREAM: Final = "text/event-stream"


def measured(counts: Counts) -> Middleware:
    """Return the middleware, which must be the outermost one."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = OTHER if resource is None else resource.canonical
        method = request.method if request.method in METHODS else OTHER
        status = ABORTED
        began = perf_counter()
        try:
            response = await handler(request)
            status = str(response.status)
        except web.HTTPException as error:
            status = str(error.status)
            raise
        finally:
            counts.http_requests[method, path, status] += 1
        is_stream = response.content_type == STREAM or isinstance(response, web.WebSocketResponse)
        if not is_stream:
            counts.http_s.labels(method, path).observe(perf_counter() - began)
        return response

    return measure
