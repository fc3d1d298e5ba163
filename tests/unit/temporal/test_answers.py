"""What counts as a step's answer, whatever came back."""

from uuid import UUID, uuid4

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from orderflow.temporal.answers import OPENED_WITH, UNSEALED, NoAnswer, answer_of, named
from workflows.steps import StepOutcome

ORDER = uuid4()
STEP = "authorize_payment"


def raw(document: str, **metadata: bytes) -> RawValue:
    return RawValue(Payload(metadata={"encoding": b"json/plain", **metadata}, data=document.encode()))


def an_answer(order_id: UUID = ORDER, step: str = STEP, opened_with: bytes | None = None) -> RawValue:
    metadata = {} if opened_with is None else {OPENED_WITH: opened_with}
    return raw(named(StepOutcome(state="ok"), order_id, step).model_dump_json(), **metadata)


def read(found: RawValue | None, *, recorded: bool = False) -> StepOutcome:
    return answer_of(StepOutcome, found, ORDER, STEP, recorded=recorded)


def test_what_a_worker_of_ours_answered_is_the_answer() -> None:
    assert read(an_answer()).state == "ok"
    assert read(an_answer(opened_with=b"2026-01-01-00000000")).state == "ok"
    refused = StepOutcome(state="refused", reason="payment_declined", detail="no")
    assert read(raw(named(refused, ORDER, STEP).model_dump_json())).reason == "payment_declined"


def test_what_names_another_step_or_order_is_no_answer() -> None:
    for found in (an_answer(uuid4()), an_answer(step="capture_payment"), raw('{"state":"ok"}')):
        with pytest.raises(NoAnswer, match="does not name this step and this order"):
            read(found)


def test_what_came_unsealed_although_we_seal_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="not sealed by a worker of ours"):
        read(an_answer(opened_with=UNSEALED))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "null",
        '"ok"',
        "[]",
        '{"state":"paid"}',
        '{"state":["ok"]}',
        f'{{"state":"ok","order_id":7,"step":"{STEP}"}}',
        "[" * 100_000,
        '{"state":"ok","order_id":"' + "x" * 100_000 + '"}',
    ],
    ids=range(10),
)
def test_what_is_no_outcome_is_no_answer_and_is_not_quoted(document: str) -> None:
    with pytest.raises(NoAnswer) as refused:
        read(raw(document))
    assert len(str(refused.value)) < 300
    assert "xxx" not in str(refused.value)


def test_nothing_and_what_is_no_json_is_no_answer() -> None:
    for found in (None, RawValue(Payload()), RawValue(Payload(metadata={"encoding": b"binary/encrypted"}))):
        with pytest.raises(NoAnswer):
            read(found)


def test_a_recorded_answer_from_before_the_names_is_one() -> None:
    old = raw('{"state":"ok","reason":null,"detail":null}', **{OPENED_WITH: UNSEALED})
    assert read(old, recorded=True) == StepOutcome(state="ok")
    with pytest.raises(NoAnswer):
        read(raw("{}"), recorded=True)


def test_what_is_no_answer_gets_no_names() -> None:
    assert named("done", ORDER, STEP) == "done"
    assert named(None, ORDER, STEP) is None
