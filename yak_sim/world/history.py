"""The history of a run: the operations of the clients and their results, in order.

Rows only keep references during the run, so that recording is cheap. ``objects`` converts them to
the JSON objects of docs/formats.md after the run.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import NamedTuple

from yak_core.ids import NO_EPOCH, Epoch, Micros, NodeId, Offset


class Row(NamedTuple):
    """One line of a history.

    ``process`` is the number of the operation within its client. An ``invoke`` row and the row of
    its result (``ok``, ``fail``, or ``info`` for an unknown outcome) have the same number.
    ``values`` are the records.
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
        """Add a row for the start of an operation."""
        self.rows.append(
            Row(at_us, client, process, "invoke", f, values, -1, None, NO_EPOCH, -1, "")
        )

    def objects(self) -> Iterator[dict[str, object]]:
        """Yield one JSON object per row. -1 and an empty error become null."""
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
    """Return UTF-8 as text, and other bytes as ``{"b64": ...}``, so that no byte is lost."""
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": b64encode(value).decode("ascii")}
