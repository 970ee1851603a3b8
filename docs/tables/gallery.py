"""The gallery of scenarios: the text, the run and the picture of each scenario."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

from docs.tables.markdown import table
from docs.tables.sources import ROOT
from yak_core.trace.reader import digest_of
from yak_sim import RunResult, describe, load_scenario, run_scenario
from yak_sim.plot.watermarks import render_watermarks

FOLDER: Final = ROOT / "docs" / "images" / "scenarios"
SEED: Final = 7
PLOT: Final = ROOT / "yak_sim" / "plot"
IDENTIFIER: Final = re.compile(r"<!-- yak:(\w+) -->\n$")
DIGEST: Final = re.compile(r"^## (\w+)$(?:(?!^## ).)*?^digest: (\w+)$", re.MULTILINE | re.DOTALL)
DECIMALS: Final = re.compile(r"(\.\d\d)\d+")
PATH: Final = re.compile(r' d="[^"]*"')


def names() -> list[str]:
    """Return the names of all scenarios, in order."""
    return sorted(path.stem for path in (ROOT / "scenarios").glob("[a-z]*.py"))


@cache
def result_of(name: str) -> RunResult:
    """Return the run of a scenario. Raise ValueError if it is not valid."""
    result = run_scenario(load_scenario(name), SEED)
    if result.valid is not True:
        raise ValueError(f"{name} is not valid: {result.reason}")
    return result


def contents() -> str:
    """Return the table of contents, with the first line of each scenario."""
    rows = (
        (f"[{name}](#{name})", load_scenario(name).text.splitlines()[0].replace("``", "`"))
        for name in names()
    )
    return table(("scenario", "what happens"), rows)


def entries() -> str:
    """Return a section for each scenario."""
    return "\n".join(map(entry, names()))


def entry(name: str) -> str:
    """Return the section of one scenario."""
    module = importlib.import_module(f"scenarios.{name}")
    result = result_of(name)
    settings = [
        f"`--set {parameter}={default}`"
        for parameter, default in load_scenario(name).parameters.items()
    ]
    figures = {key: result.figures[key] for key in result.world.scenario_figures}
    parts = [
        f"## {name}",
        (inspect.getdoc(module) or "").replace("``", "`"),
        f"`./yak sim run {name} --seed {SEED}`, [script](../scenarios/{name}.py)"
        + (f", settings: {', '.join(settings)}" if settings else ""),
        f"![{describe(result.trace)}](images/scenarios/{name}.svg)",
    ]
    if figures:
        parts.append(table(("figure", "value"), figures.items()).rstrip("\n"))
    lines = [str(line) for line in result.narrative]
    lines += [f"proved: {expectation.sentence}" for expectation in result.expectations]
    parts.append(
        "<details><summary>Narrative and expectations</summary>\n\n```text\n"
        + "\n".join([*lines, f"digest: {digest_of(result.trace)}"])
        + "\n```\n\n</details>"
    )
    return "\n\n".join(parts) + "\n"


def run_digests(page: str) -> dict[str, str]:
    """Return the digest of each run in the text of the gallery, by scenario."""
    return dict(DIGEST.findall(page))


def picture_digest(run_digest: str) -> str:
    """Return a hash of the digest of a run and of the modules that draw it."""
    return blake2b((run_digest + drawing_code()).encode(), digest_size=16).hexdigest()


@cache
def drawing_code() -> str:
    """Return the text of the modules that draw a picture."""
    drawn_by = (*sorted(PLOT.glob("*.py")), Path(__file__))
    return "".join(path.read_text(encoding="utf-8") for path in drawn_by)


def stored_digest(path: Path) -> str:
    """Return the digest in a picture file, empty if there is none."""
    if not path.exists():
        return ""
    found = IDENTIFIER.search(path.read_text(encoding="utf-8"))
    return found[1] if found else ""


def stale_pictures(runs: Mapping[str, str]) -> list[Path]:
    """Return the picture files that other data or other code drew, and those without a scenario.

    ``runs`` has the digest of the run of each scenario.
    """
    wanted = {FOLDER / f"{name}.svg": picture_digest(digest) for name, digest in runs.items()}
    stale = [path for path, digest in wanted.items() if stored_digest(path) != digest]
    return stale + [path for path in sorted(FOLDER.glob("*")) if path not in wanted]


def write_picture(path: Path) -> None:
    """Draw the picture of the scenario with this name; delete it if there is no such scenario."""
    if path.stem not in names():
        path.unlink()
        return
    trace = result_of(path.stem).trace
    svg = render_watermarks(trace).svg.decode("utf-8")
    # Two decimals of a point are enough, and a path needs no line for each of its points.
    svg = PATH.sub(lambda found: DECIMALS.sub(r"\1", found[0]).replace("\n", " "), svg)
    svg = "\n".join(line.rstrip() for line in svg.splitlines())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{svg}\n<!-- yak:{picture_digest(digest_of(trace))} -->\n", encoding="utf-8")
