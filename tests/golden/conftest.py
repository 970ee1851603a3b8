"""Collects the golden scripts as tests; ``--rewrite`` writes the actual output instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.golden_script import ScriptError, difference, parse, rewritten, run
from tests.golden.golden_words import Play
from tests.rewriting import add_rewrite_option
from yak_core.rules import Rules


class GoldenMismatch(Exception):
    """The output differs from the script; the message is a diff."""


def pytest_addoption(parser: pytest.Parser) -> None:
    add_rewrite_option(parser)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> GoldenFile | None:
    if file_path.suffix == ".golden":
        return GoldenFile.from_parent(parent, path=file_path)
    return None


class GoldenFile(pytest.File):
    """One golden script, which is one test."""

    def collect(self) -> Iterator[GoldenScript]:
        yield GoldenScript.from_parent(self, name=self.path.stem)


class GoldenScript(pytest.Item):
    """Runs the script under the protocol's rules and compares, or rewrites."""

    def runtest(self) -> None:
        script = parse(self.path.read_text(encoding="utf-8"))
        outputs = run(script, Play(Rules()).execute)
        if self.config.getoption("--rewrite", default=False):
            text = rewritten(script, outputs)
            parse(text)  # too long an output is an error of the script
            self.path.write_text(text, encoding="utf-8")
            return
        diff = difference(self.path, script, outputs)
        if diff:
            raise GoldenMismatch(diff)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        if isinstance(excinfo.value, ScriptError | GoldenMismatch):
            return f"{self.path.name}: {excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name
