"""Checks of the headers Host and Origin.

A web page can make a browser send requests to this machine, and it can let its own name resolve to
127.0.0.1 (DNS rebinding). The browser then sends that name as Host. So a broker answers only
requests for names that it has, and none that come from another site's page.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from yak_core.errors import ErrorCode, Outcome
from yak_net.http.problems import Handler, Problem, set_outcome

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
LOOPBACK_NAMES: Final = LOOPBACK[:2]
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
SHOWN_MAX: Final = 60
"""Characters of a foreign name that an answer and a log line show."""

PAGE_ORIGIN: Final = web.RequestKey("page_origin", str)
"""Key of a request from a page of another broker of the cluster; its value is the Origin."""

_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#\\\s]+)(?P<port>:[0-9]{0,5})?")

log = structlog.get_logger("yak.http")


@dataclass(frozen=True)
class Hosts:
    """The host names and addresses of one broker; ``addresses`` allows every IP address.

    An IP address as Host is not a risk of DNS rebinding. A broker that listens on all addresses of
    its machine does not know them, so it allows each.
    """

    names: frozenset[str]
    addresses: bool = False

    def allows(self, host: str) -> bool:
        """Return whether ``host``, a name with or without a port, is one of this broker."""
        name = canonical(host)
        return name in self.names or (self.addresses and _is_address(name))


def hosts_of(listen: str, urls: Iterable[str], names: Iterable[str]) -> Hosts:
    """Return the hosts of a broker that listens on ``listen`` and is reached by ``urls``.

    ``names`` are further names, such as that of a reverse proxy. Loopback names are always allowed.
    """
    wildcard = listen in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
    given = [listen, *LOOPBACK, *names, *(urlsplit(url).netloc for url in urls)]
    return Hosts(frozenset(filter(None, map(canonical, given))), wildcard)


def canonical(host: str) -> str:
    """Return the name of ``name``, ``name:port`` or ``[v6]:port`` in one spelling.

    Empty if ``host`` has another form.
    """
    if _is_address(host):
        return str(ipaddress.ip_address(host))
    match = _HOST.fullmatch(host)
    if match is None:
        return ""
    name = match["name"].strip("[]").lower().removesuffix(".")
    return str(ipaddress.ip_address(name)) if _is_address(name) else name


def no_urls() -> tuple[str, ...]:
    """Return no URL."""
    return ()


def origins_of(urls: Iterable[str]) -> set[str]:
    """Return the origins of the pages at ``urls``, the brokers' addresses for clients.

    A broker at a loopback address has the same page at ``localhost`` and ``127.0.0.1``.
    """
    found = set()
    for url in urls:
        try:
            parts = urlsplit(url.lower())
            port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        except ValueError:  # another broker's address, which no page can have
            continue
        names = LOOPBACK_NAMES if parts.hostname in LOOPBACK_NAMES else (parts.hostname or "",)
        for name in filter(None, names):
            found.add(f"{parts.scheme}://{f'[{name}]' if ':' in name else name}{port}")
    return found


def check_hosts(
    hosts: Hosts, open_path: str = "", client_urls: Callable[[], Iterable[str]] = no_urls
) -> Middleware:
    """Return the middleware that refuses a foreign Host with 421 and a foreign Origin with 403.

    Only ``GET`` of ``open_path`` may come from the pages of other brokers, which are at
    ``client_urls()``; PAGE_ORIGIN of the request then has the Origin.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        found = request.headers.getall("Host", [])
        # request.host is that of the target, if the target contains one.
        if len(found) != 1 or not hosts.allows(found[0]) or not hosts.allows(request.host):
            raise _refusal(
                request,
                421,
                f"the header Host is {_shown(found[0]) if found else 'missing'}, expected a name "
                "of this broker; use its URL, or give it this name with --allow-host",
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{found[0]}".lower():
            is_open = request.method == "GET" and request.path == open_path
            if is_open and origin.lower() in origins_of(client_urls()):
                request[PAGE_ORIGIN] = origin
                return await handler(request)
            raise _refusal(
                request,
                403,
                f"the header Origin is {_shown(origin)}: requests from web pages of other sites "
                "are refused",
            )
        return await handler(request)

    return check


def _refusal(request: web.Request, status: int, detail: str) -> Problem:
    log.warning("request refused", status=status, reason=detail, peer=request.remote)
    if request.method == "POST":
        set_outcome(request, Outcome.NOT_WRITTEN)
    code = (int(ErrorCode.INVALID_REQUEST), ErrorCode.INVALID_REQUEST.name)
    return Problem(status, code, HTTPStatus(status).phrase, detail)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    return ascii(text)[:SHOWN_MAX]
