"""The tables of values: settings, messages, errors, transitions, limits."""

from __future__ import annotations

import dataclasses
import inspect
import re

from docs.table_text import ERROR_MEANINGS, KAFKA_NAMES, UNDOCUMENTED
from docs.tables.markdown import code, flowing, plain, sentence, table
from docs.tables.sources import attribute_docs, core_sources, fields, listed
from yak_core import errors
from yak_core.batch import header
from yak_core.log import producers
from yak_core.metadata import partition_state, transitions


def settings(cls: type) -> str:
    """Return a row for each field of a configuration: default, Kafka's name, meaning."""
    assert dataclasses.is_dataclass(cls)
    described = attribute_docs(cls)
    rows = []
    for field in dataclasses.fields(cls):
        default = "" if field.default is dataclasses.MISSING else amount(field.name, field.default)
        meaning = described.get(field.name) or UNDOCUMENTED[field.name]
        rows.append((code(field.name), default, KAFKA_NAMES.get(field.name, ""), meaning))
    return table(("setting", "default", "Kafka's name", "meaning"), rows)


def amount(name: str, value: object) -> str:
    """Return a default with its unit, if the name says microseconds or bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        if "_us" in name:
            return f"{value // 1_000_000} s" if value % 1_000_000 == 0 else f"{value // 1000} ms"
        if "bytes" in name:
            mib = 1024 * 1024
            return f"{value // mib} MiB" if value % mib == 0 else f"{value // 1024} KiB"
        return f"{value:,}"
    return code(repr(value))


def classes(values: object) -> str:
    """Return a row for each class of a union: name, fields, meaning."""
    rows = ((code(cls.__name__), fields(cls), plain(cls.__doc__)) for cls in listed(values))
    return table(("name", "fields", "meaning"), rows)


def errors_table() -> str:
    """Return a row for each error code: whether a retry may succeed, which modules use it."""
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
    """Return a row for each transition of the partition state, by number."""
    found: list[tuple[str, ...]] = []
    for name, value in vars(transitions).items():
        match = re.match(r"(T\d+): (.*)", inspect.getdoc(value) or "", re.DOTALL)
        if match is not None and inspect.isfunction(value):
            asked = ", ".join(code(p) for p in inspect.signature(value).parameters if p != "state")
            said_so = sentence(flowing(match.group(2)))
            found.append((match.group(1), code(name), asked, said_so))
    return table(("number", "function", "arguments", "what it does"), sorted(found))


def fixed() -> str:
    """Return a row for each limit that is not a setting."""
    values = (
        (
            "ANCESTORS_MAX",
            partition_state.ANCESTORS_MAX,
            "earlier stamps that a partition state keeps",
        ),
        ("WINDOW", producers.WINDOW, "batches kept for each producer id to recognise retries"),
        ("SEQUENCE_MODULUS", producers.SEQUENCE_MODULUS, "sequences; after the last one comes 0"),
        ("BATCH_BYTES_MAX", header.BATCH_BYTES_MAX, "largest size of a batch in bytes"),
        ("RECORDS_MAX", header.RECORDS_MAX, "largest number of records in a batch"),
    )
    return table(("name", "value", "meaning"), ((code(n), f"{v:,}", m) for n, v, m in values))
