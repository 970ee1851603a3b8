"""Errors of the clients: none is missing, and each has cause, outcome and advice."""

from __future__ import annotations

import pickle
import warnings

import pytest

from yak_core.contract.client_calls import PollResult, SendResult
from yak_core.errors import RETRIABLE, ErrorCode, Outcome
from yak_core.ids import Epoch
from yak_net.client.errors import ERRORS, Delivery, YakError, read_error, send_error

with warnings.catch_warnings():  # it uses an API deprecated in 3.11 and 3.12
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka.errors

CODES = [code for code in ErrorCode if code is not ErrorCode.NONE]


def test_each_code_has_a_class_and_each_outcome_a_delivery() -> None:
    """Goal: each value of the core's enums has a class or a name; method: compare them."""
    assert list(ERRORS) == CODES
    assert len(set(ERRORS.values())) == len(CODES)
    assert [one.name for one in Delivery] == [one.name for one in Outcome]


@pytest.mark.parametrize("code", CODES)
def test_class_has_kafkas_code_and_name(code: ErrorCode) -> None:
    """Goal: the classes match Kafka's. Method: kafka-python's class of each code."""
    kind = ERRORS[code]
    assert (kind.code, kind.name, kind.retriable) == (int(code), code.name, code in RETRIABLE)
    theirs = getattr(kafka.errors, kind.__name__, None)
    if code is ErrorCode.NOT_LEADER_OR_FOLLOWER:  # kafka-python has only its older name
        theirs = kafka.errors.NotLeaderForPartitionError
    assert theirs is not None
    assert (theirs.errno, theirs.retriable) == (kind.code, kind.retriable)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("outcome", [Outcome.NOT_WRITTEN, Outcome.UNKNOWN])
def test_message_has_meaning_outcome_and_next_step(code: ErrorCode, outcome: Outcome) -> None:
    """Goal: one line: meaning, detail, outcome, next step; equal after pickling."""
    error = send_error(SendResult(code, outcome, -1, Epoch(-1), "just so"))
    assert type(error) is ERRORS[code]
    assert error.outcome.name == outcome.name
    meaning, fate, step = str(error).split("; ")
    assert meaning.endswith(": just so")
    assert fate == {
        Outcome.NOT_WRITTEN: "nothing was written",
        Outcome.UNKNOWN: "whether the records were written is unknown",
    }[outcome]
    assert step
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.outcome) == (type(error), str(error), error.outcome)


def test_error_has_one_advice() -> None:
    """Goal: the advice of the class replaces that of the core; method: details with advice."""
    fenced = "fenced: another producer has a newer epoch; start a new producer"
    error = send_error(SendResult(
        ErrorCode.INVALID_PRODUCER_EPOCH, Outcome.NOT_WRITTEN, -1, Epoch(-1), fenced
    ))
    assert str(error) == (
        "this producer is fenced: another producer has a newer epoch; nothing was written; "
        "create a new producer"
    )


def test_read_error_has_no_text_about_writing() -> None:
    """Goal: the message of a read error has no text about writing."""
    error = read_error(PollResult(ErrorCode.OFFSET_OUT_OF_RANGE, (), 9, 9, 0, Epoch(1)))
    assert isinstance(error, YakError)
    assert "written" not in str(error)
    assert error.outcome == "not_written"
