"""The list of the tidy rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.tidy.habits import checkless, home_paths, opening, sizes, skips, swallowed, unfinished
from tests.tidy.imports import arrows, public_api, purity
from tests.tidy.rooms import own_front_doors, upward_arrows
from tests.tidy.sets import iterated_sets
from tests.tidy.tree import Source

Rule: TypeAlias = Callable[[Source], list[str]]

ALL: tuple[Rule, ...] = (
    arrows,
    checkless,
    home_paths,
    iterated_sets,
    opening,
    own_front_doors,
    public_api,
    purity,
    sizes,
    skips,
    swallowed,
    unfinished,
    upward_arrows,
)
