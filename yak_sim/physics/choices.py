"""The random decisions of a run, drawn from named streams.

A decision is a function of (seed, site, entity, draw number), so adding or removing a draw changes
no other stream. ``site`` is a constant in the code (``net.delay``), ``entity`` the object of the
decision (``n1>n2``). Each pair has its own :class:`random.Random`. Only its method ``random()`` is
used, because Python guarantees equal results between versions for this method only. With one option
nothing is drawn.

Every decision is an integer, and 0 is benign: the first option, no fault, no extra delay. A run can
be replayed from its decisions other than 0 (a sparse decision trace), even after a code change.
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
"""(site, entity, draw number from 0, value other than 0)."""

Ratio: TypeAlias = tuple[int, int]
"""A probability as (numerator, denominator)."""

NEVER: Final[Ratio] = (0, 1)

_QUANTILES: Final = 4096
_ONE: Final = 1 << 16


def _exponential_table() -> tuple[int, ...]:
    """Return the midpoints of 4096 equal slices of the exponential distribution of mean 65536."""
    return tuple(
        round(-math.log(1 - (index + 0.5) / _QUANTILES) * _ONE) for index in range(_QUANTILES)
    )


EXPONENTIAL: Final = _exponential_table()
"""Integers, so that platform differences in the last bit of a logarithm do not change a run."""


class Point(Protocol):
    """The stream of decisions of one (site, entity)."""

    def pick(self, options: int) -> int:
        """Return an index below ``options`` (1 or more); 0 is benign."""
        ...

    def between(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included; ``low`` is benign."""
        ...

    def happens(self, ratio: Ratio) -> bool:
        """Return True with this probability; False is benign."""
        ...

    def exponential(self, mean: int) -> int:
        """Return an exponential time with this mean, at most 9 times the mean; 0 is benign."""
        ...


class Choices(Protocol):
    """The source of the decisions of a run."""

    @property
    def seed(self) -> int:
        """Return the seed of the run, which also determines the start-up nonces."""
        ...

    def at(self, site: str, entity: str) -> Point:
        """Return the point of this name, always the same object for the same name."""
        ...


class RandomPoint:
    """A point that draws from its own random stream."""

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
        numerator, denominator = ratio
        if numerator <= 0 or numerator >= denominator:
            return numerator > 0
        return self._random() * denominator < numerator

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        if mean <= 0:
            return 0
        return EXPONENTIAL[int(self._random() * _QUANTILES)] * mean >> 16


Decide: TypeAlias = Callable[[Callable[[RandomPoint], int], int], int]
"""Makes the next decision of a point. Arguments: the draw function, the largest valid value."""


class SparsePoint:
    """A point with numbered decisions, which can be recorded and replayed."""

    __slots__ = ("_decide",)

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def pick(self, options: int) -> int:
        """See :class:`Point`."""
        return self._decide(lambda point: point.pick(options), options - 1) if options > 1 else 0

    def between(self, low: int, high: int) -> int:
        """See :class:`Point`."""
        top = high - low
        return low + self._decide(lambda point: point.between(0, top), top) if top > 0 else low

    def happens(self, ratio: Ratio) -> bool:
        """See :class:`Point`."""
        if ratio[0] <= 0 or ratio[0] >= ratio[1]:
            return ratio[0] > 0
        return self._decide(lambda point: int(point.happens(ratio)), 1) > 0

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        return self._decide(lambda point: point.exponential(mean), sys.maxsize) if mean > 0 else 0


def _recording(key: Key, point: RandomPoint, recorded: list[Decision]) -> Decide:
    """Return a decider that draws, and records decisions other than 0 in ``recorded``."""
    numbers = count()

    def decide(draw: Callable[[RandomPoint], int], _top: int) -> int:
        value, number = draw(point), next(numbers)
        if value:
            recorded.append((*key, number, value))
        return value

    return decide


def _replaying(values: Mapping[int, int]) -> Decide:
    """Return a decider that replays ``values``, limited to the valid range; default 0."""
    numbers = count()
    return lambda _draw, top: min(values.get(next(numbers), 0), top)


class RandomChoices:
    """Draws decisions at random; ``record=True`` records the decisions for a replay."""

    def __init__(self, seed: int, record: bool = False) -> None:
        self.seed = seed
        self._record = record
        self._points: dict[Key, Point] = {}
        self._decisions: list[Decision] = []

    def at(self, site: str, entity: str) -> Point:
        """See :class:`Choices`."""
        key = (site, entity)
        point = self._points.get(key)
        if point is None:
            random = RandomPoint(Random(key_of(self.seed, site, entity)).random)
            decide = _recording(key, random, self._decisions)
            self._points[key] = point = SparsePoint(decide) if self._record else random
        return point

    def decisions(self) -> tuple[Decision, ...]:
        """Return the recorded decisions other than 0, in the order of the draws.

        Raise ValueError without ``record=True``.
        """
        if not self._record:
            raise ValueError("no decisions recorded; use RandomChoices(seed, record=True)")
        return tuple(self._decisions)


class ReplayChoices:
    """Replays a sparse decision trace; a missing decision is 0."""

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
            point = SparsePoint(_replaying(self._values.get(key, {})))
            self._points[key] = point
        return point


def key_of(seed: int, *names: str) -> int:
    """Return a 128-bit integer, a pure function of the seed and the names."""
    text = "\0".join((str(seed), *names)).encode("utf-8")
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "big")
