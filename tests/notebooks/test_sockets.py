"""Lesson 12: no process of its cluster is left behind, also when a cell fails."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.notebooks.lessons import FOLDER, played

LESSON = FOLDER / "12_sockets.py"
STEP = "confirmed_all = producer.confirmed == ALL"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_failing_cell_leaves_no_broker(tmp_path: Path) -> None:
    """All brokers are stopped. Method: raise after the failover, then connect to each port."""
    with pytest.raises(LookupError) as raised:
        played(LESSON, {STEP: "raise LookupError(servers)"}, tmp_path)
    servers = str(raised.value.args[0]).split(",")
    assert len(servers) == 3
    for host, _, port in (server.partition(":") for server in servers):
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port))):
            pass
