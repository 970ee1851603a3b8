"""Property tests with two budgets: few examples in the commit tier, many in the long tier."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def examples(
    few: int, many: int, *strategies: st.SearchStrategy[object]
) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Make a test of a property whose arguments are drawn from ``strategies``, in order."""

    def decorate(holds: Callable[..., None]) -> Callable[[int], None]:
        @pytest.mark.parametrize("budget", [few, pytest.param(many, marks=pytest.mark.long)])
        def test(budget: int) -> None:
            settings(max_examples=budget)(given(*strategies)(holds))()

        test.__doc__ = holds.__doc__
        test.__module__ = holds.__module__
        return test

    return decorate
