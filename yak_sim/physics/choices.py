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
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
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

    def choose(self, site: str, entity: str, options: int) -> int:
        """Shorthand for ``at(site, entity).pick(options)``."""
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


class RecordingPoint:
    """Draws like a RandomPoint and keeps what was not benign."""

    __slots__ = ("_key", "_kept", "_point", "_drawn")

    def __init__(self, key: Key, point: RandomPoint, kept: list[Decision]) -> None:
        self._key = key
        self._point = point
        self._kept = kept
        self._drawn = 0

    def pick(self, options: int) -> int:
        """See :class:`Point`."""
        return self._keep(self._point.pick(options)) if options > 1 else 0

    def between(self, low: int, high: int) -> int:
        """See :class:`Point`."""
        return low + self._keep(self._point.between(low, high) - low) if high > low else low

    def happens(self, ratio: Ratio) -> bool:
        """See :class:`Point`."""
        if ratio[0] <= 0 or ratio[0] >= ratio[1]:
            return ratio[0] > 0
        return self._keep(int(self._point.happens(ratio))) > 0

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        return self._keep(self._point.exponential(mean)) if mean > 0 else 0

    def _keep(self, value: int) -> int:
        if value:
            self._kept.append((*self._key, self._drawn, value))
        self._drawn += 1
        return value


class ReplayPoint:
    """Gives back the decisions of a trace; those that are missing are benign."""

    __slots__ = ("_drawn", "_values")

    def __init__(self, values: Mapping[int, int]) -> None:
        self._values = values
        self._drawn = 0

    def pick(self, options: int) -> int:
        """See :class:`Point`. A value from a run with more options is brought into range."""
        return min(self._next(), options - 1) if options > 1 else 0

    def between(self, low: int, high: int) -> int:
        """See :class:`Point`."""
        return min(low + self._next(), high) if high > low else low

    def happens(self, ratio: Ratio) -> bool:
        """See :class:`Point`."""
        if ratio[0] <= 0 or ratio[0] >= ratio[1]:
            return ratio[0] > 0
        return self._next() > 0

    def exponential(self, mean: int) -> int:
        """See :class:`Point`."""
        return self._next() if mean > 0 else 0

    def _next(self) -> int:
        value = self._values.get(self._drawn, 0)
        self._drawn += 1
        return value


class RandomChoices:
    """The random driver; ``record=True`` keeps the decisions that a replay needs."""

    def __init__(self, seed: int, record: bool = False) -> None:
        self._seed = seed
        self._record = record
        self._points: dict[Key, Point] = {}
        self._kept: list[Decision] = []

    @property
    def seed(self) -> int:
        """See :class:`Choices`."""
        return self._seed

    def at(self, site: str, entity: str) -> Point:
        """See :class:`Choices`."""
        key = (site, entity)
        point = self._points.get(key)
        if point is None:
            drawing = RandomPoint(Random(key_of(self._seed, site, entity)).random)
            point = RecordingPoint(key, drawing, self._kept) if self._record else drawing
            self._points[key] = point
        return point

    def choose(self, site: str, entity: str, options: int) -> int:
        """See :class:`Choices`."""
        return self.at(site, entity).pick(options)

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
        self._seed = seed
        self._values: dict[Key, dict[int, int]] = {}
        for site, entity, number, value in decisions:
            self._values.setdefault((site, entity), {})[number] = value
        self._points: dict[Key, Point] = {}

    @property
    def seed(self) -> int:
        """See :class:`Choices`."""
        return self._seed

    def at(self, site: str, entity: str) -> Point:
        """See :class:`Choices`."""
        key = (site, entity)
        point = self._points.get(key)
        if point is None:
            point = self._points[key] = ReplayPoint(self._values.get(key, {}))
        return point

    def choose(self, site: str, entity: str, options: int) -> int:
        """See :class:`Choices`."""
        return self.at(site, entity).pick(options)


def key_of(seed: int, *names: str) -> int:
    """A 128-bit integer that depends on the seed and the names, and on nothing else."""
    text = "\0".join((str(seed), *names)).encode("utf-8")
    return int.from_bytes(blake2b(text, digest_size=16).digest(), "big")
