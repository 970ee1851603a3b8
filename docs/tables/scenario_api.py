"""The methods that a scenario uses, with their signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from typing import Any, Final

from yak_sim import BrokerView, Expect, RunResult, SimConsumer, SimProducer, World, testing
from yak_sim.world.clients import ReadRecord, SentBatch
from yak_sim.world.cluster import Cluster
from yak_sim.world.faults import Faults
from yak_sim.world.waits import Waits

_NONE: Final = inspect.Parameter.empty


def state() -> str:
    """Return the state of a world."""
    return _members(Cluster, "world")


def waits() -> str:
    """Return the waits of a world."""
    return _members(Waits, "world")


def faults() -> str:
    """Return the faults of a world."""
    return _members(Faults, "world")


def clients_and_results() -> str:
    """Return the methods that World itself defines."""
    return _members(World, "world")


def expectations() -> str:
    """Return the expectations."""
    return _members(Expect, "world.expect")


def broker_view() -> str:
    """Return the docstring of a broker's state."""
    return _paragraphs(inspect.getdoc(BrokerView) or "") + "\n"


def producer() -> str:
    """Return the members of a producer."""
    return _members(SimProducer, "producer")


def sent_batch() -> str:
    """Return the fields of a batch of a producer."""
    return _fields(SentBatch)


def read_record() -> str:
    """Return the fields of a record that a consumer has read."""
    return _fields(ReadRecord)


def consumer() -> str:
    """Return the members of a consumer."""
    return _members(SimConsumer, "consumer")


def result() -> str:
    """Return the methods of a result."""
    return _members(RunResult, "result")


def testing_api() -> str:
    """Return the functions of yak_sim.testing."""
    functions = [getattr(testing, name) for name in testing.__all__]
    text = "".join(_entry("", each) for each in functions if inspect.isfunction(each))
    return text.removesuffix("\n")


def _fields(record: type) -> str:
    """Return the names of the fields and the docstring of a class that holds values."""
    names = ", ".join(f"`{name}`" for name in inspect.get_annotations(record))
    return f"Fields: {names}.\n\n{_paragraphs(inspect.getdoc(record) or '')}\n"


def _members(owner: type, prefix: str) -> str:
    parts = []
    for name, member in vars(owner).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        parts.append(_entry(f"{prefix}.", member))
    return "".join(parts).removesuffix("\n")


def _entry(prefix: str, member: Any) -> str:
    """Return a heading with the call, and the docstring as Markdown."""
    if isinstance(member, property):
        assert member.fget is not None
        call = f"{prefix}{member.fget.__name__}"
    else:
        signature = inspect.signature(member)
        parameters = [p for p in signature.parameters.values() if p.name != "self"]
        shown = [_shown(parameter) for parameter in parameters]
        text = str(signature.replace(parameters=shown, return_annotation=_NONE))
        call = f"{prefix}{member.__name__}{text}"
    return f"**`{call}`**\n\n{_paragraphs(inspect.getdoc(member) or '')}\n\n"


class _Source(str):
    """A text that stands for itself in a signature."""

    def __repr__(self) -> str:
        return str(self)


def _shown(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the parameter without its type; a default is shown as a script writes it."""
    default = parameter.default
    if isinstance(default, StrEnum):
        default = _Source(repr(default.value))
    elif parameter.name in ("within", "deadline_us") and default is not None:
        default = _Source(f"seconds({default / 1e6:g})")
    return parameter.replace(annotation=_NONE, default=default)


def _paragraphs(text: str) -> str:
    """Return a docstring as Markdown: its double backticks are single ones there."""
    return re.sub(r"``(.+?)``", r"`\1`", re.sub(r":meth:`(\w+)`", r"`\1`", text))
