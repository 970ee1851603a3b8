"""What the clients of a run asked and were told, in order; must never know how it came about.

Rows keep references while the run lasts and are turned into the objects of docs/formats.md
afterwards, so that recording costs next to nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import NamedTuple

from yak_core.ids import NO_EPOCH, Epoch, Micros, NodeId, Offset


class Row(NamedTuple):
    """One line of a history.

    ``process`` numbers the operation of its client; an ``invoke`` and the ``ok``, ``fail`` or
    ``info`` (nobody knows) that ends it share it. ``values`` are the records.
    """

    at_us: Micros
    client: NodeId
    process: int
    type: str
    f: str
    values: tuple[bytes | None, ...]
    offset: Offset
    broker: NodeId | None
    epoch: Epoch
    hw: Offset
    error: str


class History:
    """All rows of a run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def invoke(
        self, at_us: Micros, client: NodeId, process: int, f: str, values: tuple[bytes, ...] = ()
    ) -> None:
        """Add the beginning of an operation."""
        self.rows.append(
            Row(at_us, client, process, "invoke", f, values, -1, None, NO_EPOCH, -1, "")
        )

    def objects(self) -> Iterator[dict[str, object]]:
        """One JSON object a row; -1 and empty become null."""
        for number, row in enumerate(self.rows):
            yield {
                "i": number,
                "t_us": row.at_us,
                "client": row.client,
                "process": row.process,
                "type": row.type,
                "f": row.f,
                "value": [_text(value) for value in row.values],
                "offset": None if row.offset < 0 else row.offset,
                "broker": row.broker,
                "epoch": None if row.epoch < 0 else row.epoch,
                "hw": None if row.hw < 0 else row.hw,
                "error": row.error or None,
            }


def _text(value: bytes | None) -> object:
    """UTF-8 as text; other bytes as ``{"b64": ...}``, so that nothing is guessed or lost."""
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": b64encode(value).decode("ascii")}
