"""The decorator for value classes: events, effects, messages, notes and snapshots.

Values are slotted dataclasses that the type checker sees as frozen. Construction of a dataclass
that is frozen at run time takes four to six times as long. So values are frozen at run time only
if the interpreter was started with ``-X yak_strict``; one test run does this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Protocol, TypeVar, dataclass_transform

T = TypeVar("T")

STRICT = "yak_strict" in sys._xoptions
"""Whether values are frozen at run time."""


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make ``cls`` an immutable value class: with slots, equality by fields, hashable."""
    return dataclass(slots=True, frozen=STRICT, unsafe_hash=not STRICT)(cls)


class Make(Protocol):
    """The constructor of a value class whose fields are not known to the type checker."""

    def __call__(self, *args: object, **fields: object) -> object: ...


def getter_of_fields(cls: type) -> Callable[[object], tuple[object, ...]]:
    """Return a function that returns all fields of a value of ``cls``, in definition order."""
    names = [field.name for field in fields(cls)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda one: tuple([getattr(one, name) for name in names])
