"""Groups of disk operations: taken from the queue, and executed together.

Appends and flushes that follow each other are one group: one writev for all appends, and one
fdatasync for all flushes. A truncation or a saved value is a group by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from yak_core.contract.effects import AppendLog, DiskEffect, FlushLog, SaveState, TruncateLog
from yak_core.contract.events import DiskOk, DiskResult, NoSpace
from yak_core.ids import Offset
from yak_net.storage.checkpoints import save_value
from yak_net.storage.recovery import Storage

Completion: TypeAlias = tuple[DiskEffect, DiskResult, Offset]
"""An operation, its result, and the end of the log after its group."""

NO_SPACE: Final = NoSpace()
_DONE: Final = DiskOk()


def take(queue: SimpleQueue[DiskEffect | None], bytes_max: int) -> tuple[list[DiskEffect], bool]:
    """Wait for an operation, take the queued ones too; return (operations, more may follow).

    Ends after ``bytes_max`` bytes of appends. None in the queue is its end.
    """
    orders: list[DiskEffect] = []
    size = 0
    order = queue.get()
    try:
        while order is not None:
            orders.append(order)
            if isinstance(order, AppendLog):
                size += sum(batch.size for batch in order.batches)
                if size >= bytes_max:
                    return (orders, True)
            order = queue.get_nowait()
    except Empty:
        return (orders, True)
    return (orders, False)


def groups(orders: list[DiskEffect]) -> Iterator[list[DiskEffect]]:
    """Yield runs of appends and flushes, and each truncation or saved value by itself."""
    group: list[DiskEffect] = []
    for order in orders:
        if isinstance(order, AppendLog | FlushLog):
            group.append(order)
            continue
        if group:
            yield group
            group = []
        yield [order]
    if group:
        yield group


def execute(storage: Storage, group: list[DiskEffect]) -> list[Completion]:
    """Execute a group and return its completions, in order.

    Raises OSError, except for an append on a full disk, and BatchError for a damaged log.
    """
    log = storage.log
    order = group[0]
    if isinstance(order, TruncateLog):
        return [(order, _DONE, log.truncate(order.end))]
    if isinstance(order, SaveState):
        folder = storage.folder
        save_value(folder.system, folder.saved, order.key, order.value)
        return [(order, _DONE, log.end)]
    end = log.end
    appends: list[AppendLog] = []
    for order in group:
        if isinstance(order, AppendLog) and order.batches[0].base_offset == end:
            appends.append(order)
            end = order.batches[-1].end
    appended = log.append([append.batches for append in appends]) if appends else 0
    written = {append.op for append in appends[:appended]}
    if any(isinstance(order, FlushLog) for order in group):
        log.flush()
    return [
        (
            order,
            NO_SPACE if isinstance(order, AppendLog) and order.op not in written else _DONE,
            log.end,
        )
        for order in group
    ]
