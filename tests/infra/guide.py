"""The command blocks of docs/distributed-deployment.md, and the systems that they are for."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tests.net.brokers import ROOT

PAGE: Final = (ROOT / "docs" / "distributed-deployment.md").read_text("utf-8")
_BLOCK: Final = re.compile(r"^```(\w+)((?: system-\d)*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of commands: its section, the systems that run it, and the script."""

    section: str
    systems: tuple[str, ...]
    script: str


def blocks() -> list[Block]:
    """Return the blocks of the kind ``sh``, in the order of the page."""
    found = []
    for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        title = part.partition("\n")[0]
        for kind, systems, script in _BLOCK.findall(part):
            if kind == "sh":
                found.append(Block(title, tuple(systems.split()), script))
    return found
