"""What every value that leaves a node is made of; must never hold behaviour or mutable state.

Events, effects, messages, notes and snapshots are slotted dataclasses that the type checker sees as
frozen. Freezing at run time costs four to six times as much per construction, so it is off unless
the interpreter was started with ``-X yak_strict``, which one test run does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Protocol, TypeVar, dataclass_transform

T = TypeVar("T")

STRICT = "yak_strict" in sys._xoptions
"""Freeze for real."""


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make ``cls`` an immutable value: slots, equality by fields, hashable."""
    return dataclass(slots=True, frozen=STRICT, unsafe_hash=not STRICT)(cls)


class Make(Protocol):
    """A class of values whose fields are not known, as what makes its values."""

    def __call__(self, *args: object, **fields: object) -> object: ...


def getter_of_fields(cls: type) -> Callable[[object], tuple[object, ...]]:
    """What takes all fields out of a value of ``cls``, in the order of their definition."""
    names = [field.name for field in fields(cls)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple([getattr(one, name) for name in names])
