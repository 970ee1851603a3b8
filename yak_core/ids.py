"""The identifiers that travel through the core.

Epochs, generations and ids of operations and calls are types of their own for the type checker, so
that it finds two of them swapped. An offset is a plain integer, because offsets are computed with:
where one stands in the place of an epoch, or an epoch in that of an id, the checker objects, too.
"""

from __future__ import annotations

from typing import NewType, TypeAlias

NodeId: TypeAlias = str
"""A participant: a broker (``n1``), a producer (``p1``) or a consumer (``c1``)."""

Micros: TypeAlias = int
"""Microseconds since an arbitrary origin; only differences within one incarnation mean anything."""

Offset: TypeAlias = int
"""Position of a record in the log, from 0. Names that end in ``end`` are exclusive."""

Epoch = NewType("Epoch", int)
"""Leader epoch: grows by one with every gain or loss of leadership (Kafka's term)."""

NO_EPOCH = Epoch(-1)
"""The epoch "before" the first record of a log, and of what has none."""

BrokerEpoch = NewType("BrokerEpoch", int)
"""One registered start of a broker: the version of the record that its registration wrote."""

LogGeneration = NewType("LogGeneration", int)
"""Grows with every truncation and change of role; completions of an older one are dropped."""

NO_BROKER_EPOCH = BrokerEpoch(0)
"""Of a broker that has never registered."""

OpId = NewType("OpId", int)
"""Names a disk operation within an incarnation."""

CallId = NewType("CallId", int)
"""Names a metadata call or a client call within an incarnation."""

Stamp: TypeAlias = tuple[int, str]
"""(version, attempt id): which write of the metadata record, and whose attempt it was."""
