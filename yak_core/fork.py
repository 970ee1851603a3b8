"""Copies of a node's state, to explore what would happen next.

A state object has ``__slots__`` and is copied slot by slot. Lists, deques and dicts are copied. If
their items are state objects, the items are copied, too; all items of a container have one type.
Everything else is immutable or intentionally shared (values, rules, functions) and is not copied.
A state object with two references is copied once, so the copy has the same structure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Memo: TypeAlias = dict[int, object]
"""The copy of each copied object, by the ``id`` of the original."""
Copy: TypeAlias = Callable[[object, Memo], object]


def fork_of(state: T) -> T:
    """Return a copy of ``state`` that shares only immutable objects with it."""
    copied: T = _copier_of(type(state))(state, {})  # type: ignore[assignment]
    return copied


def is_state(cls: type) -> bool:
    """Return whether objects of this class are copied slot by slot: mutable, with slots."""
    is_value = hasattr(cls, "__dataclass_fields__") or issubclass(cls, tuple)
    return "__slots__" in cls.__dict__ and not is_value


def slots_of(cls: type) -> tuple[str, ...]:
    """Return the slots of a class and of its base classes."""
    return tuple(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))


def _copier_of(cls: type) -> Copy:
    """Return the function that copies objects of a type."""
    copy = _COPIES.get(cls)
    if copy is None:
        copy = _COPIES[cls] = _copy_of_slots(cls) if is_state(cls) else _share
    return copy


def _share(value: object, memo: Memo) -> object:
    return value


def _copy_sequence(value: object, memo: Memo) -> object:
    assert isinstance(value, list | deque)
    if not value or (copy := _copier_of(type(value[0]))) is _share:
        return value.copy()
    return type(value)([copy(item, memo) for item in value])


def _copy_dict(value: object, memo: Memo) -> object:
    assert isinstance(value, dict)
    if not value or (copy := _copier_of(type(next(iter(value.values()))))) is _share:
        return value.copy()
    return {key: copy(item, memo) for key, item in value.items()}


def _copy_of_slots(cls: type) -> Copy:
    slots = slots_of(cls)
    known_types = _COPIES

    def copy(value: object, memo: Memo) -> object:
        key = id(value)
        if key in memo:
            return memo[key]
        other: object = object.__new__(cls)
        memo[key] = other
        for slot in slots:
            held = getattr(value, slot)
            copier = known_types.get(type(held)) or _copier_of(type(held))
            setattr(other, slot, held if copier is _share else copier(held, memo))
        return other

    return copy


_COPIES: Final[dict[type, Copy]] = {list: _copy_sequence, deque: _copy_sequence, dict: _copy_dict}
"""The copy function of each type; other types are added at their first use."""
