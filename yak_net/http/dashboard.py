"""The dashboard at ``/``: one page that reads the stream of the cluster, and its headers.

The page is self-contained. Its Content-Security-Policy allows only its own script and style, and
connections to the streams of the brokers whose addresses are known when the page is served.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from yak_net.http.gateway import Gateway
from yak_net.http.hosts import origins_of
from yak_net.http.problems import COMMON_HEADERS

FILE: Final = Path(__file__).with_name("dashboard.html")
KNOWN: Final = "{{known}}"
"""Where the page has the cluster, the broker and the brokers' URLs, as JSON."""


def client_urls(gateway: Gateway) -> dict[str, str]:
    """Return the known URLs for clients of all brokers, by node id."""
    nodes = sorted({gateway.node_id, *gateway.peer_urls()})
    return {node: url for node in nodes if (url := gateway.url_of(node))}


def page(gateway: Gateway) -> web.Response:
    """Return the dashboard of this broker."""
    text, policy = _page()
    urls = client_urls(gateway)
    # Characters that could end the script element are escaped, as JSON allows.
    values = {"cluster": gateway.cluster, "node": gateway.node_id, "brokers": urls}
    known = msgspec.json.encode(values).decode().replace("<", "\\u003c")
    # An origin has no character with a meaning in the policy: urlsplit found its host and port.
    origins = sorted(one for one in origins_of(urls.values()) if not re.search(r"[\s;,]", one))
    headers = {
        **COMMON_HEADERS,
        "Content-Security-Policy": " ".join([policy, *origins]),
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept",
    }
    return web.Response(
        text=text.replace(KNOWN, known, 1), headers=headers, content_type="text/html"
    )


@cache
def _page() -> tuple[str, str]:
    """Return the page and its policy, which ends with the list of allowed connections."""
    text = FILE.read_text(encoding="utf-8")
    style = _digest(text, "style")
    script = _digest(text, "script")
    return text, (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
    )


def _digest(text: str, element: str) -> str:
    """Return the hash of the one element of this name without attributes, as a CSP source."""
    found = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    assert len(found) == 1, f"{len(found)} elements {element} without attributes, expected 1"
    digest = hashlib.sha256(found[0].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
