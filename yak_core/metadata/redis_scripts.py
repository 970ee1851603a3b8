"""The store's four calls as Redis scripts, with pure coding of their words; must never decide.

Each call is one Lua script on one key family, so it is atomic, and its answer shows the store as it
was right then. The scripts compare and write; they read no clock, set no expiry and draw nothing,
so a copy of the store that replays them ends up equal (F50, F86). The record is opaque to them: its
stamp lies beside it in the hash. A beat counter is held as ``broker_epoch:count``; the script adds
one in floating point, which is exact up to 2**53 beats.

Run them on the primary with ``appendfsync always``: everything else can lose a confirmed write
(F80, F82).
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
  local beat = redis.call('HGET', KEYS[2], node)
  if not beat then return '0' end
  return string.match(beat, '^%d+:(%d+)$')
end
"""

READ: Final = _ANSWER + "return answer('done')\n"
"""KEYS: record, beats. ARGV: none."""

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
"""KEYS: record, beats. ARGV: expected version and attempt (both empty: no record exists), new
version, attempt and value, guarded node and its beat count (count empty: no guard)."""

BEAT: Final = (
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
"""KEYS: record, beats. ARGV: node, incarnation, known version and attempt (both empty: none)."""

PUBLISH: Final = """
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return {'done'}
"""
"""KEYS: view. ARGV: field, value, field, value, ..."""

SCRIPTS: Final = (READ, CAS, BEAT, PUBLISH)
"""Every script, for loading ahead of use and for tests."""

# SHA-1 is the name that Redis gives a script, not a safeguard.
SHAS: Final = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in SCRIPTS
}
"""Script -> its name for EVALSHA."""

_BEAT: Final = re.compile(rb"([0-9]+):([0-9]+)")


@value
class Keys:
    """The keys of one cluster. They share a hash tag, so one shard of a Redis Cluster has all."""

    state: str
    renewals: str
    status: str


@value
class ScriptCall:
    """One run of ``script`` with KEYS ``keys`` and ARGV ``args``."""

    script: str
    keys: tuple[str, ...]
    args: tuple[bytes, ...]


def keys_of(cluster: str) -> Keys:
    """The keys of ``cluster``, a non-empty name without braces."""
    assert cluster != ""
    assert "{" not in cluster
    assert "}" not in cluster
    tag = f"yak:{{{cluster}}}"
    return Keys(f"{tag}:record", f"{tag}:beats", f"{tag}:view")


def encode_request(keys: Keys, request: MetaRequest) -> ScriptCall:
    """Say which script carries out ``request``, and its words."""
    both = (keys.state, keys.renewals)
    if isinstance(request, Read):
        return ScriptCall(READ, both, ())
    if isinstance(request, RenewLease):
        assert request.broker_epoch >= 1, "a node beats only after its registration"
        broker_epoch = b"%d" % request.broker_epoch
        return ScriptCall(
            BEAT, both, (request.node.encode(), broker_epoch, *_stamp_words(request.known))
        )
    if isinstance(request, Cas):
        words = (
            *_stamp_words(request.expected),
            *_stamp_words(request.state.stamp),
            encode_partition_state(request.state),
        )
        if request.guard is None:
            return ScriptCall(CAS, both, (*words, b"", b""))
        node, count = request.guard
        return ScriptCall(CAS, both, (*words, node.encode(), b"%d" % count))
    assert isinstance(request, Publish)
    flat = tuple(word.encode() for pair in request.status for word in pair)
    return ScriptCall(PUBLISH, (keys.status,), flat)


def decode_reply(request: MetaRequest, reply: object) -> StoreOk | Refused:
    """Read the reply of the script that :func:`encode_request` chose for ``request``.

    Words are bytes, as a client gives them without decoding. Raises PartitionStateError when what
    the store holds, or the reply, is damaged; nothing of the record's meaning is checked.
    """
    if not isinstance(reply, list | tuple) or not reply:
        raise PartitionStateError(f"The metadata store's reply is not a list but {reply!r:.80}.")
    status = _word(reply[0])
    if isinstance(request, Publish):
        if status != b"done":
            raise PartitionStateError(f"The metadata store answered a publish with {status!r}.")
        return StoreOk(NO_VALUE)
    if len(reply) != 5:
        raise PartitionStateError(
            f"The metadata store's reply has {len(reply)} parts instead of 5."
        )
    renewals = _beats_of(reply[4])
    if status == b"same" and isinstance(request, RenewLease):
        return StoreOk(MetaValue(None, True, renewals))
    value = MetaValue(_record_of(reply[1], reply[2], reply[3]), False, renewals)
    if status == b"done":
        return StoreOk(value)
    if status == b"stamp" and isinstance(request, Cas):
        return Refused(Refusal.STAMP, value)
    if status == b"guard" and isinstance(request, Cas):
        return Refused(Refusal.GUARD, value)
    raise PartitionStateError(
        f"The metadata store answered {status!r}, which this version does not know."
    )


def _stamp_words(stamp: Stamp | None) -> tuple[bytes, bytes]:
    return (b"", b"") if stamp is None else (b"%d" % stamp[0], stamp[1].encode())


def _word(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise PartitionStateError(
            f"The metadata store's reply holds {value!r:.80} where bytes belong."
        )
    return value


def _record_of(partition_epoch: object, attempt: object, value: object) -> PartitionState | None:
    words = (_word(partition_epoch), _word(attempt), _word(value))
    if words == (b"", b"", b""):
        return None
    state = decode_partition_state(words[2])
    if _stamp_words(state.stamp) != words[:2]:
        raise PartitionStateError(
            f"The stamp beside the metadata record is {words[0]!r}, {words[1]!r}, but the record's "
            f"own is {state.stamp!r}."
        )
    return state


def _beats_of(flat: object) -> tuple[tuple[NodeId, BrokerEpoch, int], ...]:
    if not isinstance(flat, list | tuple) or len(flat) % 2:
        raise PartitionStateError("The metadata store's beats are not a list of pairs.")
    renewals: list[tuple[NodeId, BrokerEpoch, int]] = []
    for i in range(0, len(flat), 2):
        node, beat = _word(flat[i]), _word(flat[i + 1])
        found = _BEAT.fullmatch(beat)
        if found is None:
            raise PartitionStateError(
                f"The beat of {node!r} in the metadata store is damaged: {beat!r}."
            )
        try:
            renewals.append((node.decode("utf-8"), BrokerEpoch(int(found[1])), int(found[2])))
        except ValueError as damage:
            raise PartitionStateError(
                f"A beat in the metadata store is damaged: {damage}."
            ) from damage
    return tuple(sorted(renewals))
