"""Random walks over three brokers: no order of events breaks an invariant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, seed, settings

from tests.property.openings import Opening
from tests.property.walks import Shape, check_goals, moves, openings, run, shapes
from tests.property.watch import Counts

EXAMPLES = 2_000
PARTS = 32
"""Parts that test workers can share."""


def part_of_walks(part: int, examples: int, total: Counts) -> Callable[[], None]:
    """Return the test function of one part. Equal parts draw equal walks in each run."""

    @settings(max_examples=examples, phases=(Phase.generate, Phase.shrink))
    @seed(part)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        total.walks += 1
        run(None, shape, opening, data, total)

    return walks


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in range(1, PARTS))]
)
def test_no_walk_breaks_an_invariant(part: int) -> None:
    """Goal: invariants hold under every order of events. Method: walks with a fixed seed."""
    total = Counts()
    part_of_walks(part, EXAMPLES // PARTS, total)()
    assert total.walks >= EXAMPLES // PARTS
    check_goals(total, total.walks)
