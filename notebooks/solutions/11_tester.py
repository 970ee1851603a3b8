"""Solution of lesson 11: the oracle that checks all promises to the clients."""


def keeps_promises(sent, acked, log, read) -> bool:
    """Return whether a run kept all promises to the clients."""
    in_order = all(
        [record for record in log if record in own] == [record for record in own if record in log]
        for own in sent
    )
    shown = all(log[offset : offset + 1] == (record,) for offset, record in read)
    return in_order and shown and set(acked) <= set(log)
