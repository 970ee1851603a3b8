"""The broker notices slips of its own code before any promise to the outside is broken."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, seed, settings

from tests.property.openings import Opening
from tests.property.slips import SLIPS, is_own_check
from tests.property.walks import Shape, moves, openings, run, shapes
from tests.property.watch import Counts
from yak_core.rules import Rules

WALKS_MAX = 20


@pytest.mark.parametrize("name", SLIPS)
def test_each_slip_is_noticed_first_by_the_broker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: an own check fires before an invariant. Method: walk until something is raised."""
    slip = SLIPS[name]
    monkeypatch.setattr(slip.owner, slip.method, slip.wrong)
    raised: list[AssertionError] = []

    @settings(max_examples=WALKS_MAX, phases=(Phase.generate,))
    @seed(0)
    @given(shape=shapes, opening=openings, data=moves)
    def walks(shape: Shape, opening: Opening, data: bytes) -> None:
        if raised:
            return
        try:
            run(Rules(), shape, opening, data, Counts())
        except AssertionError as error:
            raised.append(error)

    walks()
    assert raised, f"{name}: nothing was noticed in {WALKS_MAX} walks"
    assert is_own_check(raised[0]), str(raised[0])
    assert slip.sentence in str(raised[0])
