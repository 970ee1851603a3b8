"""The catalog of scenarios: finds them by name or path and loads them.

The scenarios of the project are in ``yak_sim/_scenarios``. In a checkout this is a link to the
folder ``scenarios``; an installation has the files there.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from yak_sim.run.scenario import Scenario


FOLDER: Final = Path(__file__).parents[1] / "_scenarios"
"""The folder of the project's scenarios."""


class ScenarioNotFound(ValueError):
    """There is no such scenario, or its file cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The scenarios of one folder. Each file has a scenario with the same name as the file."""

    folder: Path = FOLDER

    def names(self) -> list[str]:
        """Return the scenario names, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.py") if path.stem != "__init__")

    def load(self, reference: str) -> Scenario:
        """Load a scenario by name, or by ``path.py[:name]``. Raise ScenarioNotFound."""
        path, _, name = reference.partition(":")
        if path.endswith(".py"):
            return _from_file(Path(path), name)
        if reference not in self.names():
            known = f"expected one of {', '.join(self.names())}, or path.py[:name]"
            raise ScenarioNotFound(f"unknown scenario {reference!r}; {known}")
        return _from_file(self.folder / f"{reference}.py", reference)


def load_scenario(reference: str) -> Scenario:
    """Return a scenario of the project by its name, or one of a file by ``path.py[:name]``.

    Raises ValueError if there is no such scenario, or if its file cannot be loaded.
    """
    return Catalog().load(reference)


def _from_file(path: Path, name: str) -> Scenario:
    if not path.is_file():
        raise ScenarioNotFound(f"file not found: {path}")
    spec = importlib.util.spec_from_file_location(f"_scenario_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ScenarioNotFound(f"cannot load {path}: {type(error).__name__}: {error}") from error
    return _pick(module, name or path.stem, str(path), named=bool(name))


def _pick(module: object, name: str, where: str, *, named: bool) -> Scenario:
    from yak_sim.run.scenario import Scenario

    scenarios = {key: value for key, value in vars(module).items() if isinstance(value, Scenario)}
    if name in scenarios:
        return scenarios[name]
    if not named and len(scenarios) == 1:
        return next(iter(scenarios.values()))
    known = ", ".join(scenarios) or "none; decorate a generator function with @scenario"
    raise ScenarioNotFound(f"no scenario {name!r} in {where}; found {known}")
