"""State diagrams in Mermaid, drawn from the tables of transitions that the code runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeVar

from docs.tables.markdown import code, table
from docs.tables.sources import attribute_docs

State = TypeVar("State", bound=Enum)


def diagram(states: type[State], transitions: Mapping[State, Sequence[State]]) -> str:
    """Return a diagram of ``states``, and a table of their meanings.

    A state without a predecessor is an initial state; a state without a successor is a final state.
    """
    arrows = [(state, after) for state in states for after in transitions[state]]
    entered = {after for _, after in arrows}
    lines = [f"    [*] --> {state.value}" for state in states if state not in entered]
    lines += [f"    {state.value} --> {after.value}" for state, after in arrows]
    lines += [f"    {state.value} --> [*]" for state in states if not transitions[state]]
    drawn = "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])
    meanings = attribute_docs(states)
    rows = ((code(state.value), meanings[state.name]) for state in states)
    return f"{drawn}\n\n{table(('state', 'meaning'), rows)}"
