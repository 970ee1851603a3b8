"""Ports of the brokers on this machine: reserved while the cluster runs, also for brokers that are
down.

A reserved port is bound and does not listen, so a connection to a broker that is down is refused at
once. With SO_REUSEPORT, a broker of the same user can bind the same port, and other programs
cannot. Closing the socket frees the port.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from yak_net.cluster.errors import CannotStart

HOST: Final = "127.0.0.1"
PORT: Final = 8080
"""First of the consecutive ports that ``yak cluster up`` uses if all of them are free."""
PORT_MAX: Final = 65_535


class PortInUse(CannotStart):
    """The port ``port`` cannot be reserved, for the reason ``why``."""

    def __init__(self, port: int, why: str | None) -> None:
        super().__init__(
            f"cannot reserve port {port} of {HOST}: {why}; give another --port, or --port 0 for "
            "free ports"
        )
        self.port = port
        self.why = why


def reserve_ports(
    count: int, first: int, preferred: int = 0, on_event: Callable[[str], None] = lambda _: None
) -> list[socket.socket]:
    """Reserve the consecutive ports from ``first`` on; return the sockets.

    If ``first`` is 0, reserve those from ``preferred`` on if all of them are free; otherwise
    reserve free ports, and call ``on_event`` with the reason. Raises PortInUse, and CannotStart for
    a number above 65535.
    """
    found: list[socket.socket] = []
    try:
        for number in range(count):
            found.append(reserve_port((first or preferred) and (first or preferred) + number))
    except CannotStart as error:
        for each in found:
            each.close()
        if first or not isinstance(error, PortInUse):
            raise
        on_event(
            f"port {error.port} of {HOST} is not available ({error.why}), so the brokers use free "
            "ports; choose other ports with --port"
        )
        return reserve_ports(count, 0)
    return found


def reserve_port(port: int = 0) -> socket.socket:
    """Reserve one port of 127.0.0.1; 0: a free port. Raises PortInUse, CannotStart."""
    if port > PORT_MAX:
        raise CannotStart(f"port must be at most {PORT_MAX}, got {port}; give a lower --port")
    reserved = socket.socket()
    try:
        # The listening probe detects a port that another cluster has reserved with SO_REUSEPORT.
        # It lasts until the port is reserved, so two clusters that start together do not share a
        # port. SO_REUSEADDR ignores recently closed connections.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            probe.listen(1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(probe.getsockname())
    except OSError as error:
        reserved.close()
        raise PortInUse(port, error.strerror) from error
    return reserved
