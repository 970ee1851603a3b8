"""Writes the tables of docs/*.md from the code; must never hold a fact that the code holds.

A table stands between ``<!-- generated: name -->`` and ``<!-- end: name -->``, the rest of a page
is written by hand. Run ``python docs/generate.py`` after a change of the code; with ``--check``
nothing is written, and the exit code is 1 if a table is stale. tests/tidy/test_docs.py does that.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

# Run as a script, only docs/ would be on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.table_text import (
    BY_ENTRY,
    ERROR_MEANINGS,
    KAFKA_NAMES,
    RULE_TITLES,
    UNDOCUMENTED,
    UNNUMBERED,
)
from yak_core import config, errors, rules
from yak_core.batch import header
from yak_core.contract import messages, notes
from yak_core.log import producers
from yak_core.metadata import partition_state, store_calls, transitions

ROOT: Final = Path(__file__).parents[1]
CORE: Final = ROOT / "yak_core"
GOLDEN: Final = ROOT / "tests" / "golden" / "scripts"
NUMBER: Final = re.compile(r"\bF\d\d\b")
BLOCK: Final = re.compile(
    r"(?P<open><!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)"
    r"(?P<close><!-- end: (?P=name) -->)",
    re.DOTALL,
)


class Stale(NamedTuple):
    """A generated table that is not what the code says now."""

    page: str
    name: str


class Golden(NamedTuple):
    """A golden script by its name, and what its first line says that it is about."""

    name: str
    rule: str
    flaws: tuple[str, ...]


# Text.


def plain(doc: str | None) -> str:
    """The first paragraph of a docstring in one line of Markdown."""
    return flowing(inspect.cleandoc(doc or "").split("\n\n")[0])


def flowing(text: str) -> str:
    """Text of a docstring as Markdown, in one line."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    return " ".join(text.split())


def sentence(text: str) -> str:
    """``text`` with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table, with the newline behind its last line."""
    titles = tuple(titles)
    return "\n".join([row(titles), row("---" for _ in titles), *map(row, rows)]) + "\n"


def code(text: object) -> str:
    """``text`` set as code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def core_sources() -> dict[str, str]:
    """The text of each module of yak_core, by its path in there."""
    return {
        path.relative_to(CORE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(CORE.rglob("*.py"))
    }


def listed(values: object) -> tuple[type, ...]:
    """The members of a union of classes, in the order in which it was written."""
    return typing.cast(tuple[type, ...], typing.get_args(values))


def fields(cls: type) -> str:
    """The fields of a value class with their types, as code."""
    assert dataclasses.is_dataclass(cls)
    return ", ".join(code(f"{f.name}: {f.type}") for f in dataclasses.fields(cls))


# Rules.


def goldens() -> list[Golden]:
    """The golden scripts by name; the first line of each says ``# R3 (F10): ...``."""
    found = []
    for path in sorted(GOLDEN.glob("*.golden")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        match = re.match(r"# (R\d+)\b([^:]*)", first)
        if match is not None:
            numbers = tuple(NUMBER.findall(match.group(2)))
            found.append(Golden(path.stem, match.group(1), numbers))
    return found


def decisions() -> list[tuple[str, str, str]]:
    """(rule, entry, docstring) of each entry of ``Rules``, in the order of the rules."""
    found = []
    for entry in dataclasses.fields(rules.Rules):
        doc = inspect.getdoc(getattr(rules, entry.name)) or ""
        rule, _, rest = doc.partition(": ")
        assert rule in RULE_TITLES, f"the docstring of rules.{entry.name} begins with no rule"
        found.append((rule, entry.name, rest))
    return sorted(found, key=lambda item: int(item[0][1:]))


def flaws() -> dict[str, tuple[str, str]]:
    """Schedule and source of each flaw by its number, from docs/flaws.md."""
    text = (ROOT / "docs" / "flaws.md").read_text(encoding="utf-8")
    rows = re.finditer(r"^\| (F\d\d) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    return {match[1]: (match[2], match[3]) for match in rows}


def flaw_numbers(entry: str, doc: str) -> tuple[str, ...]:
    """The numbers of the flaws that an entry of ``Rules`` stops, each once."""
    return tuple(dict.fromkeys([*NUMBER.findall(doc), *BY_ENTRY.get(entry, ())]))


def stopped(entry: str, doc: str) -> str:
    """The cell of a rule's row that says what goes wrong without it."""
    known = flaws()
    lines = [said(number, *known[number]) for number in flaw_numbers(entry, doc)]
    if entry in UNNUMBERED:
        lines.append(said("", *UNNUMBERED[entry]))
    return "<br>".join(lines)


def said(number: str, schedule: str, source: str) -> str:
    """A flaw in one cell."""
    return f"{f'**{number}** ' if number else ''}{schedule} *({source})*"


def shown_by(rule: str, numbers: tuple[str, ...], is_first: bool) -> list[str]:
    """Golden scripts of a row: those of its flaws; the first row also has those of no entry."""
    of_rule = [golden for golden in goldens() if golden.rule == rule]
    claimed = {n for r, e, doc in decisions() if r == rule for n in flaw_numbers(e, doc)}
    return [
        golden.name
        for golden in of_rule
        if any(n in numbers for n in golden.flaws)
        or (is_first and not any(n in claimed for n in golden.flaws))
    ]


def rule_table() -> str:
    """A line for each replaceable decision, by rule."""
    rows = []
    seen: dict[str, None] = {}
    for rule, entry, doc in decisions():
        names = shown_by(rule, flaw_numbers(entry, doc), rule not in seen)
        seen[rule] = None
        links = "<br>".join(f"[{n}](../tests/golden/scripts/{n}.golden)" for n in names)
        rows.append((rule, code(entry), sentence(plain(doc)), stopped(entry, doc), links))
    rows += [(rule, "", "No entry.", "", "") for rule in RULE_TITLES if rule not in seen]
    rows.sort(key=lambda cells: int(cells[0][1:]))
    titles = ("rule", "entry of `Rules`", "what it says", "what happens without it", "golden")
    named = ((f"**{rule}** {RULE_TITLES[rule]}", *rest) for rule, *rest in rows)
    return table(titles, named)


def other_flaws() -> str:
    """The flaws that the code names outside rules.py, with the modules that name them."""
    in_rules = {n for _, entry, doc in decisions() for n in flaw_numbers(entry, doc)}
    known = flaws()
    where: dict[str, list[str]] = {}
    for name, text in core_sources().items():
        for number in dict.fromkeys(NUMBER.findall(text)):
            where.setdefault(number, []).append(name)
    return table(
        ("flaw", "what happens", "named in"),
        (
            (number, said("", *known[number]), ", ".join(map(code, where[number])))
            for number in sorted(where)
            if number not in in_rules
        ),
    )


# Values.


def settings(cls: type) -> str:
    """The fields of a configuration with their defaults and meanings."""
    assert dataclasses.is_dataclass(cls)
    described = attribute_docs(cls)
    rows = []
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else amount(field.name, field.default)
        meaning = described.get(field.name) or UNDOCUMENTED[field.name]
        rows.append((code(field.name), default, KAFKA_NAMES.get(field.name, ""), meaning))
    return table(("setting", "default", "Kafka's name", "meaning"), rows)


def attribute_docs(cls: type) -> dict[str, str]:
    """The strings that stand below the fields of a class."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = plain(text)
    return found


def amount(name: str, value: object) -> str:
    """A default as people write it: microseconds and bytes get their units."""
    if isinstance(value, int) and not isinstance(value, bool):
        if "_us" in name:
            return f"{value // 1_000_000} s" if value % 1_000_000 == 0 else f"{value // 1000} ms"
        if "bytes" in name:
            mib = 1024 * 1024
            return f"{value // mib} MiB" if value % mib == 0 else f"{value // 1024} KiB"
        return f"{value:,}"
    return code(repr(value))


def classes(values: object) -> str:
    """A line for each class of a union: name, fields, meaning."""
    rows = ((code(cls.__name__), fields(cls), plain(cls.__doc__)) for cls in listed(values))
    return table(("name", "fields", "meaning"), rows)


def errors_table() -> str:
    """The error codes, after which the same request may succeed, and who uses them."""
    sources = core_sources()
    del sources["errors.py"]
    rows = []
    for error in errors.ErrorCode:
        used = [n for n, text in sources.items() if re.search(rf"\.{error.name}\b", text)]
        again = "yes" if error in errors.RETRIABLE else "no"
        users = ", ".join(map(code, used)) or "-"
        meaning = ERROR_MEANINGS.get(error.name, "")
        rows.append((int(error), code(error.name), meaning, again, users))
    return table(("code", "name", "meaning", "retriable", "used in `yak_core`"), rows[1:])


def transition_table() -> str:
    """The changes of the record that this version can make, by number."""
    found: list[tuple[str, ...]] = []
    for name, value in vars(transitions).items():
        match = re.match(r"(T\d+): (.*)", inspect.getdoc(value) or "", re.DOTALL)
        if match is not None and inspect.isfunction(value):
            asked = ", ".join(code(p) for p in inspect.signature(value).parameters if p != "state")
            said_so = sentence(flowing(match.group(2)))
            found.append((match.group(1), code(name), asked, said_so))
    return table(("number", "function", "asked with", "what it does"), sorted(found))


def fixed() -> str:
    """Limits that are not settings."""
    values = (
        (
            "ANCESTORS_MAX",
            partition_state.ANCESTORS_MAX,
            "stamps of earlier records kept in the record",
        ),
        ("WINDOW", producers.WINDOW, "batches remembered for each producer id"),
        ("SEQUENCE_MODULUS", producers.SEQUENCE_MODULUS, "after this many, sequences begin anew"),
        ("BATCH_BYTES_MAX", header.BATCH_BYTES_MAX, "bytes of a batch, whatever its length says"),
        ("RECORDS_MAX", header.RECORDS_MAX, "records of a batch, whatever its count says"),
    )
    return table(("name", "value", "meaning"), ((code(n), f"{v:,}", m) for n, v, m in values))


TABLES: Final[dict[str, Callable[[], str]]] = {
    "rules": rule_table,
    "other-flaws": other_flaws,
    "broker-settings": lambda: settings(config.BrokerConfig),
    "producer-settings": lambda: settings(config.ProducerConfig),
    "consumer-settings": lambda: settings(config.ConsumerConfig),
    "fixed-limits": fixed,
    "peer-messages": lambda: classes(messages.PeerMessage),
    "requests": lambda: classes(messages.Request),
    "responses": lambda: classes(messages.Response),
    "errors": errors_table,
    "notes": lambda: classes(notes.Note),
    "store-calls": lambda: classes(store_calls.MetaRequest),
    "record": lambda: classes(partition_state.PartitionState | partition_state.NodeEntry),
    "transitions": transition_table,
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
