"""The table of metrics."""

from __future__ import annotations

from docs.tables.markdown import code, table
from yak_net.metrics.declared import METRICS


def metric_table(family: str) -> str:
    """Return a row for each metric whose name begins with ``family``."""
    rows = [
        (code(metric.name), metric.kind, ", ".join(map(code, metric.labels)), metric.help)
        for metric in METRICS.values()
        if metric.name.startswith(family)
    ]
    return table(("metric", "kind", "labels", "meaning"), rows)
