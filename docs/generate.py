"""Generate the blocks of README.md and docs/*.md that the code determines, and the pictures.

A block is between ``<!-- generated: name -->`` and ``<!-- end: name -->``; the rest of a page is
written by hand. Excerpts of the source have markers of their own (docs/tables/excerpts.py). Run
``python docs/generate.py`` after a change of the code. With ``--check``, nothing is written, and
the exit code is 1 if anything is stale; tests/tidy/test_docs.py checks the same. The modules of
docs/tables make the blocks, those of docs/failover_picture the picture of README.md.

A picture contains a digest of the run and of the code that it was drawn from. Only this digest is
compared, because the bytes of the file depend on the version of matplotlib.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, only docs/ would be on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.failover_picture import file as picture
from docs.tables import (
    api,
    excerpts,
    gallery,
    glossary,
    invariants,
    metrics,
    rules,
    runbook,
    scenario_api,
    states,
    tour,
    values,
)
from docs.tables.sources import ROOT
from yak_core import config
from yak_core.broker.phases import TRANSITIONS, Phase, Role
from yak_core.contract import messages, notes
from yak_core.metadata import partition_state, store_calls

MARKED: Final = re.compile(
    r"(?P<open><!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)"
    r"(?P<close><!-- end: (?P=name) -->)",
    re.DOTALL,
)


class Stale(NamedTuple):
    """A block that differs from what the code determines now."""

    page: str
    name: str


BLOCKS: Final[dict[str, Callable[[], str]]] = {
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
    "glossary": glossary.glossary,
    "invariants": invariants.invariant_table,
    "invariant-example": invariants.example,
    "claims": invariants.claims,
    "states-phase": lambda: states.diagram(Phase, TRANSITIONS),
    "states-role": lambda: states.diagram(Role, TRANSITIONS),
    "tour-files": tour.files,
    "scenario-result": scenario_api.result,
    "scenario-state": scenario_api.state,
    "scenario-broker": scenario_api.broker_view,
    "scenario-waits": scenario_api.waits,
    "scenario-faults": scenario_api.faults,
    "scenario-clients": scenario_api.clients_and_results,
    "scenario-producer": scenario_api.producer,
    "scenario-sent": scenario_api.sent_batch,
    "scenario-read": scenario_api.read_record,
    "scenario-consumer": scenario_api.consumer,
    "scenario-expectations": scenario_api.expectations,
    "gallery-contents": gallery.contents,
    "gallery": gallery.entries,
    "scenario-testing": scenario_api.testing_api,
    "api-core": lambda: api.names("yak_core"),
    "api-sim": lambda: api.names("yak_sim"),
    "api-net": lambda: api.names("yak_net"),
    "metrics-yak": lambda: metrics.metric_table("yak_"),
    "metrics-kafka": lambda: metrics.metric_table("kafka_"),
    "runbook": runbook.messages_table,
}


def pages() -> list[Path]:
    """Return the pages that may contain blocks: README.md and all pages in docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def names_in(text: str) -> list[str]:
    """Return the names of the blocks of a page. Raise ValueError for a marker without partner."""
    names = [match["name"] for match in MARKED.finditer(text)]
    markers = len(re.findall(r"<!-- (?:generated|end): ", text))
    if markers != 2 * len(names):
        raise ValueError(f"{markers} markers for {len(names)} blocks: one lacks its partner")
    return names


def regenerated(text: str) -> str:
    """Return the text of a page with all blocks and excerpts regenerated."""
    names_in(text)
    text = excerpts.filled_in(text)
    return MARKED.sub(lambda m: f"{m['open']}\n{BLOCKS[m['name']]()}\n{m['close']}", text)


def stale(page: str, text: str) -> list[Stale]:
    """Return the stale blocks and excerpts of a page."""
    names_in(text)
    now = MARKED.finditer(regenerated(text))
    old = [] if excerpts.filled_in(text) == text else [Stale(page, "excerpts")]
    return old + [
        Stale(page, was["name"])
        for was, is_now in zip(MARKED.finditer(text), now, strict=True)
        if was["body"] != is_now["body"]
    ]


def main(words: list[str]) -> int:
    """Write what is stale; with ``--check``, only report it. Return the exit code."""
    if words not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    found = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        found += stale(path.relative_to(ROOT).as_posix(), text)
        if not words and regenerated(text) != text:
            path.write_text(regenerated(text), encoding="utf-8")
    if picture.is_stale():
        found.append(Stale(picture.PICTURE.relative_to(ROOT).as_posix(), "picture"))
        if not words:
            picture.write()
    runs = gallery.run_digests((ROOT / "docs" / "scenario-gallery.md").read_text("utf-8"))
    for path in gallery.stale_pictures(runs):
        found.append(Stale(path.relative_to(ROOT).as_posix(), "picture"))
        if not words:
            gallery.write_picture(path)
    verb = "is stale" if words else "written"
    sys.stdout.writelines(f"{page}: {name} {verb}\n" for page, name in found)
    return 1 if words and found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
