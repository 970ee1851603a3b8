"""The identifiers that travel through the core; must never hold logic."""

from __future__ import annotations

from typing import TypeAlias

NodeId: TypeAlias = str
"""A participant: a broker (``n1``), a producer (``p1``) or a consumer (``c1``)."""

Micros: TypeAlias = int
"""Microseconds since an arbitrary origin; only differences within one incarnation mean anything."""

Offset: TypeAlias = int
"""Position of a record in the log, from 0. Names that end in ``end`` are exclusive."""

Epoch: TypeAlias = int
"""Leader epoch: grows by one with every gain or loss of leadership (Kafka's term)."""

BrokerEpoch: TypeAlias = int
"""One registered start of a broker: the version of the record that its registration wrote."""

OpId: TypeAlias = int
"""Names a disk operation within an incarnation."""

CallId: TypeAlias = int
"""Names a metadata call or a client call within an incarnation."""

Stamp: TypeAlias = tuple[int, str]
"""(version, attempt id): which write of the metadata record, and whose attempt it was."""
