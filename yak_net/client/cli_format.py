"""Forms in which ``yak consume`` prints a record."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from yak_net.client.cli_properties import is_true
from yak_net.client.consumer import ConsumerRecord

Render: TypeAlias = Callable[[ConsumerRecord], bytes]

TOPIC: Final = b"log"
"""What ``%t`` prints: there is one log, without a name."""
NULL: Final = "NULL"
"""What ``-Z`` prints for null keys and values."""
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}


def value_line(record: ConsumerRecord) -> bytes:
    """Return the value and a newline; an empty line for a null value."""
    return (record.value or b"") + b"\n"


def plain_line(key_separator: bytes | None, end: bytes, null: bytes) -> Render:
    """Return a function that prints the value and ``end``, after the key if there is a separator.

    ``null`` is printed for a null key or value.
    """

    def render(record: ConsumerRecord) -> bytes:
        value = null if record.value is None else record.value
        if key_separator is None:
            return value + end
        return (null if record.key is None else record.key) + key_separator + value + end

    return render


def json_line(record: ConsumerRecord) -> bytes:
    """Return the record as a JSON object, in the format of docs/formats.md."""
    row: dict[str, object] = {
        "offset": record.offset,
        "epoch": record.leader_epoch,
        "timestamp_ms": record.timestamp,
        **_text_or_base64("key", record.key),
        **_text_or_base64("value", record.value),
    }
    if record.headers:
        row["headers"] = [
            {"key": name, **_text_or_base64("value", content)} for name, content in record.headers
        ]
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _text_or_base64(name: str, content: bytes | None) -> dict[str, str | None]:
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(content).decode()}


def unescape(text: str) -> bytes:
    """Return the bytes of an argument, in which \\n, \\t, \\r, \\0 and \\\\ are escapes."""
    out: list[str] = []
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            character = next(letters, "")
            out.append(_ESCAPES.get(character, f"\\{character}"))
        else:
            out.append(letter)
    return "".join(out).encode(errors="surrogateescape")


# -- the option --format -------------------------------------------------------------------------


def _headers(record: ConsumerRecord) -> bytes:
    """Return ``name=value,name=value``, as kcat does."""
    pairs = [b"%s=%s" % (name.encode(), value or b"") for name, value in record.headers]
    return b",".join(pairs)


def _size(content: bytes | None) -> bytes:
    return b"%d" % (-1 if content is None else len(content))


def fields(null: bytes) -> Mapping[str, Render]:
    """Return the field of each letter after %; ``null`` is printed for a null key or value."""
    return {
        "o": lambda record: b"%d" % record.offset,
        "e": lambda record: b"%d" % record.leader_epoch,
        "T": lambda record: b"%d" % record.timestamp,
        "k": lambda record: null if record.key is None else record.key,
        "s": lambda record: null if record.value is None else record.value,
        "h": _headers,
        "K": lambda record: _size(record.key),
        "S": lambda record: _size(record.value),
        "t": lambda record: TOPIC,
        "p": lambda record: b"0",
        "%": lambda record: b"%",
    }


def formatter(form: str, null: bytes = b"") -> Render:
    """Return a function that formats a record with ``form``, as kcat does. Raises ValueError.

    %o offset, %k key, %s value, %e leader epoch, %T timestamp in ms, %h headers, %K and %S sizes
    of key and value in bytes (-1 for null), %t topic (always "log"), %p partition (always 0), %%
    percent sign. No newline is added; write it as \\n.
    """
    known = fields(null)
    parts: list[bytes | Render] = []
    text = ""
    letters = iter(form)
    for letter in letters:
        if letter == "%":
            character = next(letters, "")
            if character not in known:
                names = ", ".join(f"%{each}" for each in known)
                raise ValueError(f"unknown format field %{character}; use one of {names}")
            parts += [unescape(text), known[character]]
            text = ""
        elif letter == "\\":
            text += letter + next(letters, "")
        else:
            text += letter
    parts.append(unescape(text))
    return lambda record: b"".join(
        part if isinstance(part, bytes) else part(record) for part in parts
    )


# -- the properties of Kafka's console consumer ----------------------------------------------------

_PRINTED: Final[Mapping[str, Callable[[ConsumerRecord], bytes]]] = {
    "print.timestamp": lambda record: (
        b"NO_TIMESTAMP" if record.timestamp < 0 else b"CreateTime:%d" % record.timestamp
    ),
    "print.partition": lambda record: b"Partition:0",
    "print.offset": lambda record: b"Offset:%d" % record.offset,
    "print.epoch": lambda record: b"Epoch:%d" % record.leader_epoch,
}


def console_line(given: Mapping[str, str], null: bytes = b"null") -> Render:
    """Return the format of Kafka's console consumer for its properties. Raises ValueError.

    The fields are in Kafka's order: timestamp, partition, offset, epoch, headers, key, value.
    """
    texts = {"key.separator": "\t", "line.separator": "\n", "headers.separator": ","}
    texts |= {"null.literal": null.decode(errors="surrogateescape")}
    shown = dict.fromkeys((*_PRINTED, "print.headers", "print.key"), False)
    shown["print.value"] = True
    for name, value in given.items():
        if name in texts:
            texts[name] = value
        elif name in shown:
            shown[name] = is_true(name, value)
        else:
            known = ", ".join((*texts, *shown))
            raise ValueError(f"no property {name}: known are {known}")
    separator, end = unescape(texts["key.separator"]), unescape(texts["line.separator"])
    literal, comma = unescape(texts["null.literal"]), unescape(texts["headers.separator"])

    def or_null(content: bytes | None) -> bytes:
        return literal if content is None else content

    def headers(record: ConsumerRecord) -> bytes:
        pairs = [b"%s:%s" % (name.encode(), or_null(value)) for name, value in record.headers]
        return comma.join(pairs) or b"NO_HEADERS"

    parts = [render for name, render in _PRINTED.items() if shown[name]]
    parts += [headers] if shown["print.headers"] else []
    parts += [lambda record: or_null(record.key)] if shown["print.key"] else []
    parts += [lambda record: or_null(record.value)] if shown["print.value"] else []
    return lambda record: separator.join(part(record) for part in parts) + end
