"""Solution of lesson 12: the check that reads the traces of all brokers."""


def missing_offsets(events) -> list[int]:
    """Return the confirmed offsets that the last leader does not have."""
    logs: dict[str, dict[int, int]] = {}
    confirmed, last = set(), (0, "")
    for kind, *details in events:
        if kind == "leader":
            last = max(last, (details[1], details[0]))
        elif kind == "append":
            node, offset, epoch = details
            logs.setdefault(node, {})[offset] = epoch
        elif kind == "truncate":
            node, end = details
            kept = logs.get(node, {}).items()
            logs[node] = {offset: epoch for offset, epoch in kept if offset < end}
        else:
            confirmed.add(tuple(details))
    log = logs.get(last[1], {})
    return sorted({offset for offset, epoch in confirmed if log.get(offset) != epoch})
