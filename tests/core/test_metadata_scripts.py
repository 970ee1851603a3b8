"""The store's Lua scripts: arguments, banned words, and damaged replies."""

from __future__ import annotations

import re

import pytest

from tests.core.metadata_records import TWO, first
from yak_core.ids import BrokerEpoch
from yak_core.metadata.partition_state import PartitionStateError, encode_partition_state
from yak_core.metadata.redis_scripts import (
    CAS,
    PUBLISH,
    READ,
    RENEW,
    SCRIPTS,
    ScriptCall,
    decode_reply,
    encode_request,
    keys_of,
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

KEYS = keys_of("c1")
VALUE = encode_partition_state(first())

BANNED = re.compile(
    r"\b(time|p?ttl|p?expire\w*|p?setex|getex|setnx|px|ex|math|\w*random\w*|\w*randmember|next"
    r"|pairs|cjson|cmsgpack|os|io|load\w*|require|_G|eval\w*|flush\w*)\b",
    re.IGNORECASE,
)
CALL = re.compile(r"redis\.p?call\s*\(([^,)]*),\s*([^,)]*)")


def faults(script: str) -> list[str]:
    """Return the banned words in a script and the keys that are not from KEYS."""
    code = re.sub(r"--[^\n]*", "", script)
    found = [match[0] for match in BANNED.finditer(code)]
    calls = CALL.findall(code)
    found += [name for name, key in calls if not re.fullmatch(r"KEYS\[[12]\]", key.strip())]
    if len(calls) != len(re.findall(r"redis\s*[.\[]", code)):
        found.append("redis")
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_deterministic(script: str) -> None:
    """F50 and F86: no clock, no expiry, no random number, no table order, no other key."""
    assert CALL.search(script)
    assert faults(script) == []


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("local t = redis.call('TIME', KEYS[1])", "TIME"),
        ("redis.call('PEXPIRE', KEYS[1], 1)", "PEXPIRE"),
        ("redis.call('expireat', KEYS[1], 1)", "expireat"),
        ("redis.call('PTTL', KEYS[1])", "PTTL"),
        ("redis.call('SET', KEYS[1], 'a', 'PX', 3)", "PX"),
        ("redis.call('SRANDMEMBER', KEYS[1])", "SRANDMEMBER"),
        ("local x = math.random(3)", "math"),
        ("for k in pairs({}) do end", "pairs"),
        ("for k in next, {} do end", "next"),
        ("local v = cjson.decode(ARGV[1])", "cjson"),
        ("redis.call('GET', 'yak:{c}:record')", "'GET'"),
        ("redis.call('GET', ARGV[1])", "'GET'"),
        ("local call = redis.call", "redis"),
        ("redis['call']('TIME')", "redis"),
    ],
)
def test_the_search_for_banned_words_finds_them(script: str, fault: str) -> None:
    assert fault in faults(script)


def test_the_search_for_banned_words_lets_others_pass() -> None:
    assert (
        faults("-- no time, no pairs\nfor i, v in ipairs({}) do redis.call('GET', KEYS[1]) end")
        == []
    )


def test_keys_share_the_clusters_hash_tag() -> None:
    assert (KEYS.state, KEYS.renewals, KEYS.status) == (
        "yak:{c1}:record",
        "yak:{c1}:beats",
        "yak:{c1}:view",
    )


@pytest.mark.parametrize("cluster", ["", "a{b", "a}b"])
def test_cluster_name_cannot_break_the_hash_tag(cluster: str) -> None:
    with pytest.raises(AssertionError):
        keys_of(cluster)


BOTH = ("yak:{c1}:record", "yak:{c1}:beats")


@pytest.mark.parametrize(
    ("request_", "call"),
    [
        (Read(), ScriptCall(READ, BOTH, ())),
        (
            RenewLease("ñ", BrokerEpoch(7), None),
            ScriptCall(RENEW, BOTH, ("ñ".encode(), b"7", b"", b"")),
        ),
        (
            RenewLease("n1", BrokerEpoch(7), (3, "a")),
            ScriptCall(RENEW, BOTH, (b"n1", b"7", b"3", b"a")),
        ),
        (
            Cas(None, first(), None),
            ScriptCall(CAS, BOTH, (b"", b"", b"1", b"a1", VALUE, b"", b"")),
        ),
        (
            Cas((1, "x"), first(), ("n2", 5)),
            ScriptCall(CAS, BOTH, (b"1", b"x", b"1", b"a1", VALUE, b"n2", b"5")),
        ),
        (
            Publish((("leader", "n1"), ("hw", "4"))),
            ScriptCall(PUBLISH, ("yak:{c1}:view",), (b"leader", b"n1", b"hw", b"4")),
        ),
    ],
)
def test_request_has_the_arguments_of_the_script(request_: MetaRequest, call: ScriptCall) -> None:
    assert encode_request(KEYS, request_) == call


CAS_REQUEST = Cas((1, "a1"), TWO, None)
BEATS = [b"n2", b"2:9", b"n1", b"1:30"]
SHOWN = MetaValue(first(), False, (("n1", BrokerEpoch(1), 30), ("n2", BrokerEpoch(2), 9)))


@pytest.mark.parametrize(
    ("request_", "reply", "outcome"),
    [
        (Read(), [b"done", b"1", b"a1", VALUE, BEATS], StoreOk(SHOWN)),
        (Read(), [b"done", b"", b"", b"", []], StoreOk(MetaValue(None, False, ()))),
        (CAS_REQUEST, [b"stamp", b"1", b"a1", VALUE, BEATS], Refused(Refusal.STAMP, SHOWN)),
        (CAS_REQUEST, [b"guard", b"1", b"a1", VALUE, BEATS], Refused(Refusal.GUARD, SHOWN)),
        (
            RenewLease("n1", BrokerEpoch(1), (1, "a1")),
            (b"same", b"", b"", b"", tuple(BEATS)),
            StoreOk(MetaValue(None, True, SHOWN.renewals)),
        ),
        (Publish(()), [b"done"], StoreOk(NO_VALUE)),
    ],
)
def test_reply_is_read(request_: MetaRequest, reply: object, outcome: StoreOk | Refused) -> None:
    assert decode_reply(request_, reply) == outcome


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (Read(), None),
        (Read(), b"done"),
        (Read(), []),
        (Read(), [b"done"]),
        (Read(), [None, b"1", b"a1", VALUE, []]),
        (Read(), ["done", b"1", b"a1", VALUE, []]),
        (Read(), [b"maybe", b"1", b"a1", VALUE, []]),
        (Read(), [b"stamp", b"1", b"a1", VALUE, []]),
        (Read(), [b"guard", b"1", b"a1", VALUE, []]),
        (Read(), [b"same", b"", b"", b"", []]),
        (CAS_REQUEST, [b"same", b"", b"", b"", []]),
        (RenewLease("n1", BrokerEpoch(1), None), [b"damaged", b"1", b"a1", VALUE, BEATS]),
        (Read(), [b"done", b"2", b"a1", VALUE, []]),
        (Read(), [b"done", b"1", b"a2", VALUE, []]),
        (Read(), [b"done", b"", b"", VALUE, []]),
        (Read(), [b"done", b"1", b"a1", b"", []]),
        (Read(), [b"done", b"1", b"a1", VALUE[:-1], []]),
        (Read(), [b"done", b"1", b"a1", VALUE, None]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"n1"]]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"n1", b"30"]]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"n1", b"1:-3"]]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"n1", b"1:1e9"]]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"n1", b"1:" + b"9" * 5000]]),
        (Read(), [b"done", b"1", b"a1", VALUE, [b"\xff", b"1:3"]]),
        (Publish(()), [b"stamp"]),
        (Publish(()), "done"),
    ],
)
def test_damaged_reply_is_a_record_error(request_: MetaRequest, reply: object) -> None:
    with pytest.raises(PartitionStateError, match=r"metadata|partition state"):
        decode_reply(request_, reply)
