"""The parts of a Redis URL, split without a message that could contain its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)(?P<sentinel>\+sentinel)?://(?:(?P<login>[^/?#]*)@)?"
    r"(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)


@dataclass(frozen=True)
class UrlParts:
    """A URL as it is written, with its % codes; ``options`` are the names and values after ``?``.

    ``login`` is ``USER:PASSWORD``; ``hosts`` may be a list. ``sentinel`` says whether the scheme
    ends with ``+sentinel``, which ``scheme`` does not have.
    """

    scheme: str
    sentinel: bool
    login: str = field(repr=False)
    hosts: str
    path: str
    query: str = field(repr=False)
    options: dict[str, list[str]] = field(repr=False)


def split(url: str) -> UrlParts | None:
    """Return the parts of ``url``; None if it is not a URL."""
    found = _URL.fullmatch(url)
    if found is None:
        return None
    query = found["query"] or ""
    return UrlParts(
        found["scheme"], found["sentinel"] is not None, found["login"] or "", found["hosts"],
        found["path"] or "", query, parse_qs(query),
    )  # fmt: skip


def public_form(url: str) -> str:
    """Return ``url`` without its login and options, for messages."""
    parts = split(url)
    if parts is None:
        return "an invalid URL"
    return f"{parts.scheme}{'+sentinel' * parts.sentinel}://{parts.hosts}{parts.path}"
