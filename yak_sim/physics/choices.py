"""Every decision that a run leaves to chance, drawn by name; must never look at what is simulated.

A draw is a function of (seed, site, entity, n-th draw there), so adding or removing one draw moves
no other. ``site`` is a fixed word in the code (``net.delay``), ``entity`` what it is about
(``n1>n2``). Each pair has a stream of its own, a :class:`random.Random` of which only ``random()``
is used, because that is the one method whose results are promised to stay the same between Python
versions. Where there is one option, nothing is drawn.

Every decision is an integer and 0 is the benign one: the first option, no fault, no extra delay. A
run can therefore be replayed from the few decisions that were not 0 (a sparse decision trace), even
after the code has changed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Final, Protocol, TypeAlias

Key: TypeAlias = tuple[str, str]
"""(site, entity)."""

Decision: TypeAlias = tuple[str, str, int, int]
"""(site, entity, n-th draw there from 0, value that is not 0)."""

Ratio: TypeAlias = tuple[int, int]
"""A probability as (numerator, denominator)."""

NEVER: Final[Ratio] = (0, 1)

_QUANTILES: Final = 4096
_ONE: Final = 1 << 16


def _exponential_table() -> tuple[int, ...]:
    """Midpoints of 4096 equal slices of the exponential distribution of mean 65536."""
    return tuple(
        round(-math.log(1 - (index + 0.5) / _QUANTILES) * _ONE) for index in range(_QUANTILES)
    )


EXPONENTIAL: Final = _exponential_table()
"""Integers, so that no difference in the last bit of a logarithm can reach a run."""


class Point(Protocol):
    """One place where decisions are drawn, in order."""

    def pick(self, options: int) -> int:
        """One of ``options`` (1 or more): an index, 0 the benign one."""
        ...

    def between(self, low: int, high: int) -> int:
        """An integer from ``low`` (the benign one) to ``high``, both included."""
        ...

    def happens(self, ratio: Ratio) -> bool:
        """True with this probability; False is benign."""
        ...

    def exponential(self, mean: int) -> int:
        """A waiting time of this mean, at most 9 times it; 0 is benign."""
        ...


class Choices(Protocol):
    """A driver: where the decisions of a run come from."""

    @property
    def seed(self) -> int:
        """Names the run; also the source of start-up nonces."""
        ...

    def at(self, site: str, entity: str) -> Point:
        """The point of this name; always the same object for the same name."""
        ...


class RandomPoint:
    """Draws from a stream of its own."""

    __slots__ = ("_random",)

    def __init__(self, draw: Callable[[], float]) -> None:
        self._random = draw

    def pick(self, options: int) -> int:
        """See :class:`Point`."""
        return int(self._random() * options) if options > 1 else 0

    def between(self, low: int, high: int) -> int:
        """See :class:`Point`."""
        return low + int(self._random() * (high - low + 1)) if high > low else low

    def happens(self, ratio: Ratio) -> bool:
        """See :class:`Point`."""
        part, whole = ratio
        if part <= 0 or part >= whole:
            return part > 0
        return self._random() * whole < part

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        if mean <= 0:
            return 0
        return EXPONENTIAL[int(self._random() * _QUANTILES)] * mean >> 16


Decide: TypeAlias = Callable[[Callable[[RandomPoint], int], int], int]
"""Makes the next decision of a point: how it is drawn, and the largest that it can be."""


class SparsePoint:
    """A point whose decisions are numbered, so that they can be kept or given back."""

    __slots__ = ("_decide",)

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def pick(self, options: int) -> int:
        """See :class:`Point`."""
        return self._decide(lambda point: point.pick(options), options - 1) if options > 1 else 0

    def between(self, low: int, high: int) -> int:
        """See :class:`Point`."""
        most = high - low
        return low + self._decide(lambda point: point.between(0, most), most) if most > 0 else low

    def happens(self, ratio: Ratio) -> bool:
        """See :class:`Point`."""
        if ratio[0] <= 0 or ratio[0] >= ratio[1]:
            return ratio[0] > 0
        return self._decide(lambda point: int(point.happens(ratio)), 1) > 0

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        return self._decide(lambda point: point.exponential(mean), sys.maxsize) if mean > 0 else 0


def _keeping(key: Key, point: RandomPoint, kept: list[Decision]) -> Decide:
    """Draw, and keep what is not benign."""
    numbers = count()

    def decide(draw: Callable[[RandomPoint], int], _most: int) -> int:
        value, number = draw(point), next(numbers)
        if value:
            kept.append((*key, number, value))
        return value

    return decide


def _giving_back(values: Mapping[int, int]) -> Decide:
    """Decide as the trace says, in range if a run with more options made it; else benignly."""
    numbers = count()
    return lambda _draw, most: min(values.get(next(numbers), 0), most)


class RandomChoices:
    """The random driver; ``record=True`` keeps the decisions that a replay needs."""

    def __init__(self, seed: int, record: bool = False) -> None:
        self.seed = seed
        self._record = record
        self._points: dict[Key, Point] = {}
        self._kept: list[Decision] = []

    def at(self, site: str, entity: str) -> Point:
        """See :class:`Choices`."""
        key = (site, entity)
        point = self._points.get(key)
        if point is None:
            drawing = RandomPoint(Random(key_of(self.seed, site, entity)).random)
            kept = SparsePoint(_keeping(key, drawing, self._kept)) if self._record else None
            self._points[key] = point = kept or drawing
        return point

    def decisions(self) -> tuple[Decision, ...]:
        """What was decided and was not benign, in the order of the draws.

        Raises ValueError unless the driver was made with ``record=True``.
        """
        if not self._record:
            raise ValueError("decisions are kept only by RandomChoices(seed, record=True)")
        return tuple(self._kept)


class ReplayChoices:
    """The replay driver: a sparse decision trace; what is missing in it is benign."""

    def __init__(self, seed: int, decisions: Iterable[Decision]) -> None:
        self.seed = seed
        self._values: dict[Key, dict[int, int]] = {}
        for site, entity, number, value in decisions:
            self._values.setdefault((site, entity), {})[number] = value
        self._points: dict[Key, Point] = {}

    def at(self, site: str, entity: str) -> Point:
        """See :class:`Choices`."""
        key = (site, entity)
        point = self._points.get(key)
        if point is None:
            point = SparsePoint(_giving_back(self._values.get(key, {})))
            self._points[key] = point
        return point


def key_of(seed: int, *names: str) -> int:
    """A 128-bit integer that depends on the seed and the names, and on nothing else."""
    text = "\0".join((str(seed), *names)).encode("utf-8")
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "big")
