"""Solution of lesson 10: the rule with which a restarted broker keeps its place in the ISR."""


def keeps_place(flush: str, intact: bool, same_disk: bool, only_process: bool) -> bool:
    """Return whether a restarted broker has all records that it acknowledged."""
    return intact and same_disk and (flush == "batch" or only_process)
