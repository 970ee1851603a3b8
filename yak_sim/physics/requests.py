"""A client's request in the simulated network."""

from __future__ import annotations

from dataclasses import dataclass

from yak_core.contract.messages import Request


@dataclass(slots=True, eq=False)
class ClientRequest:
    """A request, shared by all copies of its message; ``start`` is the start of the client.

    ``taken``: a process has received a copy. ``refused``: the first copy found no process, as if
    the connection was refused. The object then goes back to the client, and all other copies are
    dropped, so that the client can rely on the report.
    """

    request: Request
    start: int
    taken: bool = False
    refused: bool = False
