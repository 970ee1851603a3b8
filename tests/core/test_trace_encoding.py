"""Every value of the core survives encoding: generated values of each type, and refusals.

Method: strategies are derived from the annotations, as the codecs are, but by Hypothesis.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from enum import IntEnum, StrEnum
from typing import Literal, NewType, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.trace_samples import batch
from yak_core.batch import Batch
from yak_core.contract.client_calls import ClientCall, ClientResult
from yak_core.contract.effects import (
    Answer,
    AppendLog,
    CallMeta,
    Effect,
    Observe,
    SaveState,
    Send,
    SetTimer,
)
from yak_core.contract.events import Cancelled, DiskDone, DiskOk, DiskResult, Event, PeerLost
from yak_core.contract.messages import Message, ProduceRequest
from yak_core.contract.notes import HighWatermarkAdvanced, Note
from yak_core.encoding.json_codec import codec_of
from yak_core.encoding.json_scalars import Elided, Mismatch
from yak_core.errors import ErrorCode
from yak_core.ids import CallId, Epoch, LogGeneration, OpId
from yak_core.metadata.store_calls import MetaOutcome, MetaRequest, Publish
from yak_core.trace.writer import EFFECT, EVENT

UNIONS = {
    "event": Event,
    "effect": Effect,
    "message": Message,
    "note": Note,
    "disk result": DiskResult,
    "metadata request": MetaRequest,
    "metadata outcome": MetaOutcome,
    "client call": ClientCall,
    "client result": ClientResult,
}
MEMBERS = [(name, member) for name, union in UNIONS.items() for member in get_args(union)]
BUDGETS = [8, pytest.param(50, marks=pytest.mark.long)]
SCALARS: dict[object, st.SearchStrategy[object]] = {
    int: st.integers(-(2**63), 2**128),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    type(None): st.none(),
}

STARTED = (
    '{"Started":{"node":"n1","config":{"BrokerConfig":{"replicas":[%s]}},"nonce":1,'
    '"recovered":{%s}}}'
)


def values_of(annotation: object) -> st.SearchStrategy[object]:
    """Return a strategy for a type annotation of the core."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    args = get_args(annotation)
    if get_origin(annotation) is tuple and args[-1] is Ellipsis:
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    if get_origin(annotation) is Literal:
        return st.sampled_from(args)
    if get_origin(annotation) is tuple:
        return st.tuples(*map(values_of, args))
    if args:
        return st.one_of(*map(values_of, args))
    if isinstance(annotation, NewType):
        return values_of(annotation.__supertype__)
    assert isinstance(annotation, type)
    if issubclass(annotation, IntEnum | StrEnum):
        return st.sampled_from(list(annotation))
    hints = get_type_hints(annotation)
    return st.builds(annotation, **{name: values_of(hint) for name, hint in hints.items()})


def without_payload(value: object) -> object:
    """Return ``value`` without the bytes of its batches, as read from a trace."""
    if isinstance(value, Batch):
        return replace(value, data=b"")
    if isinstance(value, tuple):
        return tuple(without_payload(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: without_payload(getattr(value, field.name)) for field in fields(value)
        }
        return replace(value, **changes)
    return value


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("union", "member"), MEMBERS, ids=lambda at: getattr(at, "__name__", at))
def test_every_type_comes_back_as_it_was(union: str, member: type, budget: int) -> None:
    """Goal: each member of each union has a codec. Method: encode and decode values twice."""
    codec = codec_of(UNIONS[union])

    @settings(max_examples=budget)
    @given(values_of(member))
    def there_and_back(value: object) -> None:
        text = codec.encode(value)
        assert text.isascii()
        back = codec.decode(json.loads(text))
        assert back == without_payload(value)
        assert type(back) is member
        assert codec.encode(back) == text, "decoded and encoded again"

    there_and_back()


def test_the_two_kinds_of_success_are_distinct() -> None:
    """A disk's success is not the store's. Method: one in place of the other."""
    disk = codec_of(DiskDone)
    assert disk.decode(json.loads('{"op":1,"generation":2,"result":{"DiskOk":{}}}')) == DiskDone(
        OpId(1), LogGeneration(2), DiskOk()
    )
    with pytest.raises(Mismatch):
        disk.decode(json.loads('{"op":1,"generation":2,"result":{"StoreOk":{}}}'))


def test_text_is_canonical() -> None:
    """Goal: the text of a value never changes. Method: one example of each rule."""
    effect = AppendLog(OpId(3), LogGeneration(1), (batch(5, data=b"123456789"),))
    assert EFFECT.encode(effect) == (
        '{"AppendLog":{"op":3,"generation":1,"batches":[{"base_offset":5,"epoch":1,"count":1,'
        '"producer_id":7,"producer_epoch":0,"base_sequence":5,"max_timestamp":1000,"size":70,'
        '"crc":3735928559,"data":[9,3808858755]}]}}'
    )
    assert EFFECT.encode(SaveState(OpId(1), "é", b'\x00"\xff')) == (
        '{"SaveState":{"op":1,"key":"\\u00e9","value":"\\u0000\\"\\u00ff"}}'
    )
    assert (
        EFFECT.encode(SaveState(OpId(1), "k", None))
        == '{"SaveState":{"op":1,"key":"k","value":null}}'
    )
    assert codec_of(ErrorCode).encode(ErrorCode.FENCED_LEADER_EPOCH) == '"FENCED_LEADER_EPOCH"'
    assert codec_of(bool).encode(True) == "true"
    assert EFFECT.encode(Observe(HighWatermarkAdvanced(4))) == (
        '{"Observe":{"note":{"HighWatermarkAdvanced":{"hw":4}}}}'
    )


def test_a_payload_comes_back_as_its_length_and_crc() -> None:
    """An elided payload keeps its length, CRC and truth value."""
    codec = codec_of(Batch)
    text = codec.encode(batch(0, data=b"123456789"))
    back = codec.decode(json.loads(text))
    assert isinstance(back, Batch)
    assert isinstance(back.data, Elided)
    assert (back.data, len(back.data), bool(back.data)) == (b"", 0, True)
    assert (back.data.length, back.data.crc) == (9, 0xE3069283)
    assert codec.encode(back) == text
    header = codec.decode(json.loads(codec.encode(batch(0, data=b""))))
    assert isinstance(header, Batch)
    assert not header.data


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (SetTimer("lease-renewal", 1, 2.5), "SetTimer.hi_us: 2.5"),  # type: ignore[arg-type]
        (SetTimer("lease-renewal", None, 2), "SetTimer.lo_us: None"),  # type: ignore[arg-type]
        (SetTimer(7, 1, 2), "SetTimer.key: 7"),  # type: ignore[arg-type]
        (SaveState(1, "k", "text"), "SaveState.value: 'text'"),  # type: ignore[arg-type]
        (AppendLog(1, 1, [batch(0)]), "is not a tuple"),  # type: ignore[arg-type]
        (AppendLog(1, 1, (batch(0, data="x"),)), "Batch.data: 'x'"),  # type: ignore[arg-type]
        (CallMeta(1, Publish((("a",),))), "Publish.status: ('a',)"),  # type: ignore[arg-type]
        (Send("n1", PeerLost("n2")), "PeerLost(peer='n2')"),  # type: ignore[arg-type]
        (Cancelled(CallId(1)), "Cancelled(call=1)"),
        ("nothing", "'nothing'"),
    ],
)
def test_a_value_that_breaks_its_type_is_refused(value: object, reason: str) -> None:
    """Goal: an invalid effect of a node is reported with its field."""
    with pytest.raises(Mismatch) as caught:
        EFFECT.encode(value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("7", "7"),
        ("{}", "{}"),
        ('{"Sent":{}}', "'Sent'"),
        ('{"Cancelled":[]}', "Cancelled: []"),
        ('{"Cancelled":{}}', "'call' is missing"),
        ('{"Cancelled":{"call":1.0}}', "Cancelled.call: 1.0"),
        ('{"Cancelled":{"call":true}}', "Cancelled.call: True"),
        ('{"Cancelled":{"call":1,"more":2}}', "Cancelled: unknown field 'more'"),
        ('{"PeerLost":{"peer":null}}', "PeerLost.peer: None"),
        (
            '{"Received":{"src":"n1","message":{"Fenced":{"epoch":1,"leader":2}}}}',
            "Received.message.Fenced.leader: 2",
        ),
        (
            STARTED % ('"n1",2', ""),
            "Started.config.BrokerConfig.replicas[1]: 2",
        ),
        (
            STARTED % ("", '"saved":[["k","\\u0100"]]'),
            "Started.recovered.saved[0][1]: 'Ā'",
        ),
        (
            STARTED % ("", '"saved":[["k",7]]'),
            "Started.recovered.saved[0][1]: 7",
        ),
        (
            STARTED % ("", '"epochs":[[1]]'),
            "Started.recovered.epochs[0]: [1]",
        ),
    ],
)
def test_json_that_fits_no_event_is_refused(text: str, reason: str) -> None:
    """Goal: any error is a Mismatch with the position, never another exception."""
    with pytest.raises(Mismatch) as caught:
        EVENT.decode(json.loads(text))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "data", ["[1]", "[1,2,3]", "[-1,2]", "[1,4294967296]", "[1,-1]", '"x"', "7"]
)
def test_an_invalid_elided_payload_is_refused(data: str) -> None:
    """Goal: length and CRC are checked."""
    text = codec_of(Batch).encode(batch(0)).replace('"data":[7,', '"data":!').partition("!")[0]
    with pytest.raises(Mismatch, match=r"data: .*length and CRC"):
        codec_of(Batch).decode(json.loads(text + data + "}"))


def test_a_field_with_a_default_may_be_missing() -> None:
    """Goal: files written before a field was added stay readable."""
    text = '{"error":"NONE","outcome":"WRITTEN","base_offset":3,"epoch":1}'
    result = codec_of(get_args(ClientResult)[0]).decode(json.loads(text))
    assert getattr(result, "detail", None) == ""


def test_an_unknown_error_name_is_refused() -> None:
    """An error code of a later version has a name that this one does not know."""
    with pytest.raises(Mismatch, match=r"'NO_SUCH' .*ErrorCode"):
        codec_of(ErrorCode).decode("NO_SUCH")
    with pytest.raises(Mismatch, match=r"12345 .*ErrorCode"):
        codec_of(ErrorCode).encode(12345)


def test_annotations_without_a_rule_are_refused_early() -> None:
    """Goal: a new type of field needs a rule before it is traced. Method: some examples."""

    class Colour(IntEnum):
        RED = 1

    assert codec_of(Colour).decode("RED") is Colour.RED
    for annotation in (float, list[int], dict[str, int], int | str, object, tuple[Colour, float]):
        with pytest.raises(TypeError, match="no rule for"):
            codec_of(annotation)


def test_cached_texts_belong_to_one_object() -> None:
    """Goal: the cache never confuses two batches. Method: many short-lived batches."""
    codec = codec_of(Batch)
    for base in range(1_000):
        assert f'"base_offset":{base},' in codec.encode(batch(base))


def test_answers_and_requests_nest() -> None:
    """An answer carries a union inside a union; a request carries a batch."""
    request = ProduceRequest(1, Epoch(2), -1, 10, batch(3))
    text = EFFECT.encode(Send("n2", request))
    assert text.startswith('{"Send":{"dst":"n2","message":{"ProduceRequest":{"correlation":1,')
    with pytest.raises(Mismatch, match=r"Answer\.result"):
        EFFECT.encode(Answer(1, request))  # type: ignore[arg-type]
