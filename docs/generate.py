"""Generate the blocks of docs/*.md that the code determines.

A block is between ``<!-- generated: name -->`` and ``<!-- end: name -->``; the rest of a page is
written by hand. Run ``python docs/generate.py`` after a change of the code. With ``--check``,
nothing is written, and the exit code is 1 if a block is stale; tests/tidy/test_docs.py checks that
too. The blocks are made by the modules of docs/tables.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, only docs/ would be on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.tables import reading, rules, values
from docs.tables.sources import ROOT
from yak_core import config
from yak_core.contract import messages, notes
from yak_core.metadata import partition_state, store_calls

BLOCK: Final = re.compile(
    r"(?P<open><!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)"
    r"(?P<close><!-- end: (?P=name) -->)",
    re.DOTALL,
)


class Stale(NamedTuple):
    """A generated table that is not what the code says now."""

    page: str
    name: str


TABLES: Final[dict[str, Callable[[], str]]] = {
    "rules": rules.rule_table,
    "other-flaws": rules.other_flaws,
    "broker-settings": lambda: values.settings(config.BrokerConfig),
    "producer-settings": lambda: values.settings(config.ProducerConfig),
    "consumer-settings": lambda: values.settings(config.ConsumerConfig),
    "fixed-limits": values.fixed,
    "peer-messages": lambda: values.classes(messages.PeerMessage),
    "requests": lambda: values.classes(messages.Request),
    "responses": lambda: values.classes(messages.Response),
    "errors": values.errors_table,
    "notes": lambda: values.classes(notes.Note),
    "store-calls": lambda: values.classes(store_calls.MetaRequest),
    "record": lambda: values.classes(partition_state.PartitionState | partition_state.NodeEntry),
    "transitions": values.transition_table,
    "reading-order": reading.reading_order,
}


def pages() -> list[Path]:
    """The pages that may hold generated tables."""
    return sorted((ROOT / "docs").rglob("*.md"))


def names_in(text: str) -> list[str]:
    """The generated tables of a page. Raises ValueError for a marker without its partner."""
    names = [match["name"] for match in BLOCK.finditer(text)]
    markers = len(re.findall(r"<!-- (?:generated|end): ", text))
    if markers != 2 * len(names):
        raise ValueError(f"{markers} markers make {len(names)} tables: one lacks its partner")
    return names


def regenerated(text: str) -> str:
    """A page with its tables as the code says now."""
    names_in(text)
    return BLOCK.sub(lambda m: f"{m['open']}\n{TABLES[m['name']]()}\n{m['close']}", text)


def stale(page: str, text: str) -> list[Stale]:
    """The tables of a page that are not what the code says now."""
    names_in(text)
    now = BLOCK.finditer(regenerated(text))
    return [
        Stale(page, was["name"])
        for was, is_now in zip(BLOCK.finditer(text), now, strict=True)
        if was["body"] != is_now["body"]
    ]


def main(words: list[str]) -> int:
    """Write the tables, or with ``--check`` say which are stale. Returns the exit code."""
    if words not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    found = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        found += stale(path.relative_to(ROOT).as_posix(), text)
        if not words:
            path.write_text(regenerated(text), encoding="utf-8")
    verb = "is stale" if words else "written"
    sys.stdout.writelines(f"{page}: {name} {verb}\n" for page, name in found)
    return 1 if words and found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
