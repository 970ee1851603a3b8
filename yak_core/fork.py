"""Copies of a node's state, for trying out what would happen.

A state object has ``__slots__`` and is copied slot by slot. Lists, deques and dicts are copied,
with what is in them if those are states: the items of a container are of one type. Everything else
is immutable or shared on purpose (values, rules, functions) and stays the same object. A state that
is reached twice is copied once, so the parts of a copy share what the parts of the original share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar, cast

T = TypeVar("T")
Memo: TypeAlias = dict[int, object]
"""The id of each object that was copied, and its copy."""
Copy: TypeAlias = Callable[[object, Memo], object]


def fork_of(state: T) -> T:
    """A copy of ``state`` that shares only immutable things with it."""
    copy = _COPIES[type(state)]
    assert copy is not None, "only states are forked"
    return copy(state, {})  # type: ignore[return-value]


def is_state(cls: type) -> bool:
    """Whether objects of this class are copied slot by slot: mutable, and with slots."""
    is_value = hasattr(cls, "__dataclass_fields__") or issubclass(cls, tuple)
    return "__slots__" in cls.__dict__ and not is_value


def slots_of(cls: type) -> tuple[str, ...]:
    """The slots of a class and of those that it extends."""
    return tuple(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))


class _Copies(dict[type, Copy | None]):
    """How objects of a type are copied, None for what is shared; added when it is first met."""

    def __missing__(self, cls: type) -> Copy | None:
        copy = self[cls] = _copy_of_slots(cls) if is_state(cls) else None
        return copy


def _sequence(value: object, memo: Memo) -> object:
    assert isinstance(value, list | deque)
    if not value or (copy := _COPIES[type(value[0])]) is None:
        return value.copy()
    return type(value)(copy(item, memo) for item in value)


def _dict(value: object, memo: Memo) -> object:
    assert isinstance(value, dict)
    if not value or (copy := _COPIES[type(next(iter(value.values())))]) is None:
        return value.copy()
    return {key: copy(item, memo) for key, item in value.items()}


def _copy_of_slots(cls: type) -> Copy:
    """Write the function that copies a state of this class; a loop over the slots is half as fast.

    It is written as dataclasses write theirs: out of names that the class itself has.
    """
    body = ["other = memo.get(id(value))", "if other is not None: return other"]
    body += ["memo[id(value)] = other = new(cls)"]
    for slot in slots_of(cls):
        body += [f"part = value.{slot}", "how = copies[type(part)]"]
        body += [f"other.{slot} = part if how is None else how(part, memo)"]
    body += ["return other"]
    names: dict[str, object] = {"cls": cls, "copies": _COPIES, "new": object.__new__}
    exec("\n    ".join(["def copy(value, memo):", *body]), names)  # noqa: S102 - no foreign text
    return cast(Copy, names["copy"])


_COPIES: Final = _Copies({list: _sequence, deque: _sequence, dict: _dict})
