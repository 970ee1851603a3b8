"""Log lines as JSON: each line is one object, whatever is logged."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.net.brokers import BrokerProcess, brokers, until
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.runtime.json_logs import (
    STDERR_EVENT,
    TRACEBACK_CHARS_MAX,
    VALUE_CHARS_MAX,
    JsonLines,
    JsonRenderer,
)
from yak_net.runtime.log_sink import TEXT_CHARS_MAX, LogSink


def rendered(**line: Any) -> dict[str, Any]:
    """Render a line; return the object, after a check of its form."""
    text = JsonRenderer().render(line)
    assert "\n" not in text
    assert len(text) < TEXT_CHARS_MAX
    found: dict[str, Any] = json.loads(text)
    assert list(found)[:3] == ["time", "level", "event"]
    assert found["time"].endswith("Z")
    return found


class Broken:
    """A value whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_values_keep_their_types() -> None:
    """Method: numbers, null, a path, a tuple, control characters, a lone surrogate."""
    found = rendered(
        event="listening", level="warning", port=8080, up=True, none=None, share=0.5,
        path=Path("/tmp/x"), pair=("a", 1), text='a"b\n\x1b[31m', odd="\udcff",
    )  # fmt: skip
    assert (found["event"], found["level"]) == ("listening", "warning")
    assert (found["port"], found["up"], found["none"], found["share"]) == (8080, True, None, 0.5)
    assert (found["path"], found["pair"]) == ("/tmp/x", "('a', 1)")
    assert found["text"] == 'a"b\n\x1b[31m'
    assert found["odd"] == "\\udcff"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, Broken(), "x" * 10**6])
def test_no_value_breaks_a_line(value: object) -> None:
    """Goal: whole objects for values that JSON does not have, or that are too long."""
    found = rendered(event="e", value=value)
    assert found["level"] == "info"
    assert found.get("lost") == "ValueError" or "value" in found
    assert len(str(found.get("value", ""))) <= VALUE_CHARS_MAX + 3


def test_a_line_that_is_too_long_says_so() -> None:
    """Goal: no line is cut, because the rest would not be JSON."""
    found = rendered(event="e", **{f"field{n}": "\x01" * VALUE_CHARS_MAX for n in range(20)})
    assert found["lost"].endswith("characters")


def test_a_traceback_is_one_member() -> None:
    """Method: an error, its traceback, and a traceback that is too long."""

    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise KeyError("k" * 3000)

    for level in (0, 200):
        try:
            deep(level)
        except KeyError as error:
            info = (type(error), error, error.__traceback__)
            for given in (info, error, True):
                found = rendered(event="e", exc_info=given)
                assert "exc_info" not in found
                assert found["traceback"].rstrip().endswith("k'")
                assert len(found["traceback"]) <= TRACEBACK_CHARS_MAX


def test_other_text_becomes_objects_too() -> None:
    """Goal: print(), warnings and tracebacks. Method: text in parts, then a rest without an end."""
    reading, writing = os.pipe()
    sink = LogSink(writing)
    lines = JsonLines(sink, JsonRenderer())
    for part in ("one", " line\ntwo\n", "\n", "rest"):
        lines.write(part)
    lines.flush()
    sink.finish(5)
    os.close(writing)
    with os.fdopen(reading) as reader:
        found = [json.loads(line) for line in reader]
    assert [one["text"] for one in found] == ["one line", "two", "rest"]
    assert {one["event"] for one in found} == {STDERR_EVENT}
    assert (lines.encoding, lines.writable(), lines.isatty()) == ("utf-8", True, False)


def objects(broker: BrokerProcess) -> list[dict[str, Any]]:
    """Return the lines of a broker's output, each of which must be one JSON object."""
    return [json.loads(line) for line in broker.output.splitlines()]


def test_every_line_of_a_broker_is_an_object(tmp_path: Path) -> None:
    """Method: a broker from start to stop, and one that cannot start."""
    words = ("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    with EmbeddedMetadata() as metadata, brokers() as start:
        env = {"YAK_LOG_FORMAT": "json"}
        broker = start(tmp_path / "log", *words, "--redis", metadata.url, "--verbose", env=env)
        until(lambda: '"event":"BecameLeader"' in broker.output, "a leader")
        listening = next(line for line in objects(broker) if line["event"] == "listening")
        assert listening["url"].startswith("http://127.0.0.1:")
        again = start(tmp_path / "again", *words, "--log-format", "json", "--redis", metadata.url)
        assert again.wait_for_end() == 2
        reasons = [line["text"] for line in objects(again) if line["event"] == STDERR_EVENT]
        assert len(reasons) == 1
        assert reasons[0].startswith("yak broker: ")
        broker.signal(signal.SIGTERM)
        assert broker.wait_for_end() == 0
    found = objects(broker)
    assert found[-1]["event"] == "stopped"
    assert found[-1]["clean"] is True
    assert {line["level"] for line in found} <= {"info", "warning"}
