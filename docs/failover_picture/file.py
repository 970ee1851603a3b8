"""The file of the picture of a failover: digest, drawing, writing.

The SVG file contains the digest of the picture: a hash of the drawn data and of the modules that
draw it. A check compares only this digest, because the bytes of the file depend on the version of
matplotlib.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from docs.failover_picture.drawing import figure_of
from docs.failover_picture.moments import SEED, failover, moments
from docs.tables.sources import ROOT
from yak_sim.plot.data import PlotData

PICTURE: Final = ROOT / "docs" / "images" / "failover.svg"
IDENTIFIER: Final = re.compile(r"<dc:identifier>yak:(\w+)</dc:identifier>")
DRAWN_BY: Final = ("moments.py", "drawing.py")


def digest(data: PlotData) -> str:
    """Return a hash of the drawn data and of the modules that draw it."""
    drawn = [
        [
            [broker.node, broker.leo, broker.hw],
            [[span.start_us, span.end_us] for span in broker.up],
            [[each.start_us, each.end_us, each.epoch] for each in broker.leaderships],
        ]
        for broker in data.brokers
    ]
    values = json.dumps([drawn, data.isr, moments(data)])
    folder = Path(__file__).parent
    text = "".join((folder / name).read_text(encoding="utf-8") for name in DRAWN_BY)
    return blake2b((values + text).encode(), digest_size=16).hexdigest()


def stored_digest(path: Path = PICTURE) -> str:
    """Return the digest in a picture file, empty if there is none."""
    if not path.exists():
        return ""
    found = IDENTIFIER.search(path.read_text(encoding="utf-8"))
    return found[1] if found else ""


def is_stale() -> bool:
    """Return whether the picture file was drawn from other data or by other code."""
    return stored_digest() != digest(failover())


def write(path: Path = PICTURE) -> None:
    """Draw the picture and write it to ``path``."""
    import matplotlib as mpl

    data = failover()
    ours: Any = {
        "font.family": ["DejaVu Sans"],
        "font.size": 13.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "yak",
    }
    svg = BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(ours)
        tags = {
            "Title": f"leader_failover, seed {SEED}",
            "Identifier": f"yak:{digest(data)}",
            "Creator": "docs/generate.py",
            "Date": None,
        }
        figure_of(data).savefig(svg, format="svg", metadata=tags)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(re.sub(rb" +\n", b"\n", svg.getvalue()))
