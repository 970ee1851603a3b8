"""One walk from an opening to convergence, and the situations that many walks must reach."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.property.cluster import Cluster
from tests.property.menu import walk
from tests.property.openings import OPENINGS, Opening
from tests.property.watch import Counts
from yak_core.config import FlushMode
from yak_core.rules import Rules

Shape = tuple[FlushMode, int]

SHAPES: tuple[Shape, ...] = (("batch", 2), ("batch", 2), ("os", 2), ("batch", 1), ("os", 1))
"""(flush, min ISR): the first is the default and has double weight."""

MOVES_MIN, MOVES_MAX = 30, 90

openings = st.sampled_from(OPENINGS)
shapes = st.sampled_from(SHAPES)
moves = st.binary(min_size=MOVES_MIN, max_size=MOVES_MAX)

GOALS = (
    ("second_leader", 30, "elect a second leader"),
    ("truncated", 10, "truncated a non-empty suffix"),
    ("unknown", 10, "see an unknown metadata outcome"),
    ("torn_crash", 5, "crash between append and flush"),
    ("unknown_write", 3, "see an unknown outcome of a write of the record"),
    ("crash_within", 10, "crash between two effects of a step"),
    ("kill", 10, "kill a process and leave its machine running"),
    ("session_kept", 3, "restart cleanly with flush=os because the storage session is the same"),
    ("duplicate", 5, "recognise a producer's retry"),
    ("no_space", 3, "find a disk full"),
    ("damage", 5, "come back with another disk"),
    ("committed", 50, "commit something"),
    ("healed", 50, "converge at the end"),
)
"""(count, minimum share of the walks in per cent, description)."""


def run(rules: Rules | None, shape: Shape, opening: Opening, data: bytes, total: Counts) -> Cluster:
    """Walk, heal, converge; an exception carries the moves. The walk is counted either way."""
    cluster = Cluster(rules, flush=shape[0], min_isr=shape[1])
    try:
        cluster.begin()
        cluster.moves_made.append(f"opening: {opening.__name__}")
        opening(cluster)
        walk(cluster, data)
        cluster.moves_made.append("all faults stop")
        cluster.heal()
    except Exception as error:
        error.add_note("\n".join(cluster.moves_made))
        raise
    finally:
        total.add(cluster.summary())
    return cluster


def check_goals(total: Counts, walks: int) -> None:
    """Print the share of the walks for each goal, and fail below its minimum."""
    print(f"\n{walks} walks, {total.moves} moves, {total.epochs} leader epochs")
    missed = []
    for name, least, words in GOALS:
        met = getattr(total, name)
        share = 100 * met / walks
        print(f"  {share:5.1f} % ({met}) {words}; at least {least} %")
        if share < least:
            missed.append(f"only {share:.1f} % of the walks {words}, not {least} %")
    assert not missed, "; ".join(missed)
