"""The types of identifiers, epochs, offsets and times in the core.

Epochs, generations, operation ids and call ids are distinct types, so that the type checker finds
swapped arguments. An offset is a plain integer, because offsets are used in arithmetic. The type
checker still rejects an offset where it expects one of the distinct types.
"""

from __future__ import annotations

from typing import NewType, TypeAlias

NodeId: TypeAlias = str
"""A broker (``n1``), a producer (``p1``) or a consumer (``c1``)."""

Micros: TypeAlias = int
"""Microseconds since an arbitrary origin; compare only times of one start of a node."""

Offset: TypeAlias = int
"""Position of a record in the log, from 0; a name that ends in ``end`` is an exclusive bound."""

Epoch = NewType("Epoch", int)
"""Leader epoch: grows by one when a broker gains or loses leadership (Kafka's term)."""

NO_EPOCH = Epoch(-1)
"""No epoch: used before the first record of a log, and where no epoch applies."""

BrokerEpoch = NewType("BrokerEpoch", int)
"""Identifies a start of a broker: the partition epoch that its registration wrote."""

LogGeneration = NewType("LogGeneration", int)
"""Log generation: grows with every truncation and change of role.

Completions of an older generation are dropped.
"""

NO_BROKER_EPOCH = BrokerEpoch(0)
"""The broker epoch of a broker that has not registered."""

OpId = NewType("OpId", int)
"""Identifies a disk operation within a start of a node."""

CallId = NewType("CallId", int)
"""Identifies a metadata call or a client call within a start of a node."""

Stamp: TypeAlias = tuple[int, str]
"""(partition epoch, attempt id); identifies one write to the metadata store."""
