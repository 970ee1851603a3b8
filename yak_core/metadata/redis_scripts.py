"""The four calls of the metadata store as Redis scripts, and the codec of their arguments.

Each call is one Lua script on the keys of one cluster. So it is atomic, and its reply shows the
store right after the call. The scripts only compare and write. They read no clock, set no expiry
and use no random numbers. So a replica of the store that replays them has equal contents
(F50, F86).

The partition state is opaque to the scripts: its stamp is a separate field of the hash. A lease
counter is stored as ``broker_epoch:count``. The script adds one in floating point, which is exact
up to 2**53 renewals.

Run the scripts on the primary with ``appendfsync always``: any other setting can lose an
acknowledged write (F80, F82).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from yak_core.ids import BrokerEpoch, NodeId, Stamp
from yak_core.metadata.partition_state import (
    PartitionState,
    PartitionStateError,
    decode_partition_state,
    encode_partition_state,
)
from yak_core.metadata.store_calls import (
    NO_VALUE,
    Cas,
    MetaRequest,
    MetaValue,
    Publish,
    Read,
    Refusal,
    Refused,
    RenewLease,
    StoreOk,
)
from yak_core.value import value

_ANSWER: Final = """
local function answer(status)
  local record = redis.call('HMGET', KEYS[1], 'version', 'attempt', 'value')
  return {status, record[1] or '', record[2] or '', record[3] or '',
          redis.call('HGETALL', KEYS[2])}
end
"""

_COUNT: Final = """
local function count_of(node)
  local renewals = redis.call('HGET', KEYS[2], node)
  if not renewals then return '0' end
  return string.match(renewals, '^%d+:(%d+)$')
end
"""

READ: Final = _ANSWER + "return answer('done')\n"
"""KEYS: partition state, lease counters. ARGV: none."""

CAS: Final = (
    _ANSWER
    + _COUNT
    + """
local stored = redis.call('HMGET', KEYS[1], 'version', 'attempt')
if ARGV[1] == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return answer('stamp') end
elseif stored[1] ~= ARGV[1] or stored[2] ~= ARGV[2] then
  return answer('stamp')
end
if ARGV[7] ~= '' and count_of(ARGV[6]) ~= ARGV[7] then return answer('guard') end
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'attempt', ARGV[4], 'value', ARGV[5])
return answer('done')
"""
)
"""KEYS: partition state, lease counters. ARGV: expected version and attempt (both empty: none
exists), new version, attempt and value, guarded node and its count (count empty: no guard)."""

RENEW: Final = (
    _ANSWER
    + _COUNT
    + """
local count = count_of(ARGV[1])
if not count then return answer('damaged') end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ':' .. string.format('%.0f', count + 1))
local stored = redis.call('HMGET', KEYS[1], 'version', 'attempt')
if stored[1] == ARGV[3] and stored[2] == ARGV[4] then
  return {'same', '', '', '', redis.call('HGETALL', KEYS[2])}
end
return answer('done')
"""
)
"""KEYS: partition state, lease counters. ARGV: node, broker epoch, known version and attempt (both
empty: none)."""

PUBLISH: Final = """
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return {'done'}
"""
"""KEYS: status hash. ARGV: field, value, field, value, ..."""

SCRIPTS: Final = (READ, CAS, RENEW, PUBLISH)
"""All scripts, for SCRIPT LOAD and for tests."""

# Redis names a script by its SHA-1; security does not depend on it.
SHAS: Final = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in SCRIPTS
}
"""Script -> its SHA-1, the name that EVALSHA takes."""

_RENEWAL: Final = re.compile(rb"([0-9]+):([0-9]+)")


@value
class Keys:
    """The keys of one cluster. They share a hash tag, so one shard of a Redis Cluster holds all.

    ``state`` is the partition state, ``renewals`` the lease counters, ``status`` the status hash.
    """

    state: str
    renewals: str
    status: str


@value
class ScriptCall:
    """A call of ``script`` with KEYS ``keys`` and ARGV ``args``."""

    script: str
    keys: tuple[str, ...]
    args: tuple[bytes, ...]


def keys_of(cluster: str) -> Keys:
    """Return the keys of ``cluster``, a non-empty name without braces."""
    assert cluster != ""
    assert "{" not in cluster
    assert "}" not in cluster
    tag = f"yak:{{{cluster}}}"
    return Keys(f"{tag}:record", f"{tag}:beats", f"{tag}:view")


def encode_request(keys: Keys, request: MetaRequest) -> ScriptCall:
    """Return the script call that carries out ``request``."""
    both = (keys.state, keys.renewals)
    if isinstance(request, Read):
        return ScriptCall(READ, both, ())
    if isinstance(request, RenewLease):
        assert request.broker_epoch >= 1, "a node renews its lease only after its registration"
        broker_epoch = b"%d" % request.broker_epoch
        return ScriptCall(
            RENEW, both, (request.node.encode(), broker_epoch, *_stamp_args(request.known))
        )
    if isinstance(request, Cas):
        args = (
            *_stamp_args(request.expected),
            *_stamp_args(request.state.stamp),
            encode_partition_state(request.state),
        )
        if request.guard is None:
            return ScriptCall(CAS, both, (*args, b"", b""))
        node, count = request.guard
        return ScriptCall(CAS, both, (*args, node.encode(), b"%d" % count))
    assert isinstance(request, Publish)
    flat = tuple(item.encode() for pair in request.status for item in pair)
    return ScriptCall(PUBLISH, (keys.status,), flat)


def decode_reply(request: MetaRequest, reply: object) -> StoreOk | Refused:
    """Decode the reply of the script that :func:`encode_request` chose for ``request``.

    The items of the reply must be bytes, not decoded by the Redis client. Raises
    PartitionStateError if the stored metadata or the reply is damaged. The meaning of the partition
    state is not checked.
    """
    if not isinstance(reply, list | tuple) or not reply:
        raise PartitionStateError(f"the metadata store's reply must be a list, got {reply!r:.80}")
    status = _bytes_item(reply[0])
    if isinstance(request, Publish):
        if status != b"done":
            raise PartitionStateError(
                f"the metadata store's reply to a publish must be b'done', got {status!r}"
            )
        return StoreOk(NO_VALUE)
    if len(reply) != 5:
        raise PartitionStateError(f"the metadata store's reply must have 5 items, got {len(reply)}")
    renewals = _renewals_of(reply[4])
    if status == b"same" and isinstance(request, RenewLease):
        return StoreOk(MetaValue(None, True, renewals))
    value = MetaValue(_state_of(reply[1], reply[2], reply[3]), False, renewals)
    if status == b"done":
        return StoreOk(value)
    if status == b"stamp" and isinstance(request, Cas):
        return Refused(Refusal.STAMP, value)
    if status == b"guard" and isinstance(request, Cas):
        return Refused(Refusal.GUARD, value)
    raise PartitionStateError(
        f"unknown status {status!r} in the metadata store's reply to {type(request).__name__}"
    )


def _stamp_args(stamp: Stamp | None) -> tuple[bytes, bytes]:
    return (b"", b"") if stamp is None else (b"%d" % stamp[0], stamp[1].encode())


def _bytes_item(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise PartitionStateError(
            f"an item of the metadata store's reply must be bytes, got {value!r:.80}"
        )
    return value


def _state_of(partition_epoch: object, attempt: object, value: object) -> PartitionState | None:
    items = (_bytes_item(partition_epoch), _bytes_item(attempt), _bytes_item(value))
    if items == (b"", b"", b""):
        return None
    state = decode_partition_state(items[2])
    if _stamp_args(state.stamp) != items[:2]:
        raise PartitionStateError(
            f"the stamp stored for the partition state is {items[0]!r}, {items[1]!r}, but the "
            f"stamp in the state is {state.stamp!r}"
        )
    return state


def _renewals_of(flat: object) -> tuple[tuple[NodeId, BrokerEpoch, int], ...]:
    if not isinstance(flat, list | tuple) or len(flat) % 2:
        raise PartitionStateError("the lease counters in the metadata store are not pairs")
    renewals: list[tuple[NodeId, BrokerEpoch, int]] = []
    for i in range(0, len(flat), 2):
        node, renewal = _bytes_item(flat[i]), _bytes_item(flat[i + 1])
        found = _RENEWAL.fullmatch(renewal)
        if found is None:
            raise PartitionStateError(
                f"the lease counter of {node!r} in the metadata store is damaged: {renewal!r}"
            )
        try:
            renewals.append((node.decode("utf-8"), BrokerEpoch(int(found[1])), int(found[2])))
        except ValueError as damage:
            raise PartitionStateError(
                f"a lease counter in the metadata store is damaged: {damage}"
            ) from damage
    return tuple(sorted(renewals))
