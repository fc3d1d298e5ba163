"""What travels to Temporal: sealed for its workflow and step, and never a reason for a workflow to fail."""

import contextlib
import random
from pathlib import Path
from typing import Any, cast, get_type_hints
from uuid import uuid4

import pytest
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.common import RawValue
from temporalio.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from orderflow.security.keyring import Keyring, create_key, ensure_keyring, rotate_key
from orderflow.temporal.answers import OPENED_WITH, UNSEALED, Asked
from orderflow.temporal.codec import ENCODING, KEY_ID, NOT_OPENED, SEALED_FOR, why_not_opened
from orderflow.temporal.converter import DATA_CONVERTER, NotReadable, data_converter
from orderflow.temporal.opening import opened
from workflows.steps import CapturePayment, InventorySteps, OrderSteps, PaymentSteps, Trace

VALUE = {"customer": "household-515", "token": "tok_canary_5f0c2d9a71", "n": [1, 2.5, None, "ü🍌"]}


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "ring"
    ensure_keyring(path)
    return path


@pytest.fixture
def converter(ring: Path) -> DataConverter:
    return data_converter(Keyring(ring))


def of_step(order: str = "order-1", step: str = "authorize_payment", **more: Any) -> ActivitySerializationContext:
    about: dict[str, Any] = {
        "namespace": "default",
        "activity_id": "1",
        "activity_task_queue": "payments",
        "workflow_type": "OrderWorkflow",
        "is_local": False,
        **more,
    }
    return ActivitySerializationContext(workflow_id=order, activity_type=step, **about)


def of_workflow(order: str, namespace: str = "default") -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace=namespace, workflow_id=order)


async def sealed(converter: DataConverter, value: Any = VALUE) -> Payload:
    [payload] = await converter.encode([value])
    return payload


def _append(ring: Path, other: Path) -> None:
    ring.write_text(ring.read_text() + other.read_text())


async def raw(converter: DataConverter, payload: Payload) -> Payload:
    """As a codec hands it to the workflow."""
    [found] = await converter.decode([payload], [RawValue])
    return found.payload  # type: ignore[no-any-return]


async def test_what_was_sealed_is_opened_and_shows_nothing(converter: DataConverter) -> None:
    there = converter.with_context(of_step())
    payload = await sealed(there)
    assert payload.metadata["encoding"] == ENCODING
    for canary in (b"household", b"tok_canary", b"json"):
        assert canary not in payload.SerializeToString()
    assert await there.decode([payload]) == [VALUE]
    assert (await sealed(there)).data != payload.data


async def test_it_is_opened_where_it_belongs_and_nowhere_else(converter: DataConverter) -> None:
    payload = await sealed(converter.with_context(of_step()))
    elsewhere = [
        of_step(order="order-2"),
        of_workflow("order-12"),
        of_workflow("order-1|authorize_payment"),
    ]
    for context in elsewhere:
        found = await raw(converter.with_context(context), payload)
        assert found.metadata["encoding"] == NOT_OPENED
        assert b"sealed for another place (order-1|authorize_payment)" in found.data
    # Of another step of the same run: known as not sealed for here, so neither an answer nor asked of a step.
    for context in (of_step(step="capture_payment"), of_workflow("order-1")):
        found = await raw(converter.with_context(context), payload)
        assert found.metadata[OPENED_WITH] == UNSEALED
    # Another attempt, queue or namespace is the same step: a Replayer has a namespace of its own.
    same = of_step(namespace="ReplayNamespace", activity_id="7", activity_task_queue="x", is_local=True)
    assert await converter.with_context(same).decode([payload]) == [VALUE]


async def test_who_changes_what_it_is_for_cannot_open_it(converter: DataConverter) -> None:
    """The Web UI knows no context: there the payload says it, and it was sealed too."""
    payload = await sealed(converter.with_context(of_step()))
    assert await converter.decode([payload]) == [VALUE]
    payload.metadata[SEALED_FOR] = b"order-2|authorize_payment"
    assert (await raw(converter.with_context(of_step("order-2")), payload)).metadata["encoding"] == NOT_OPENED
    assert (await raw(converter, payload)).metadata["encoding"] == NOT_OPENED


async def test_what_a_schedule_was_given_is_opened_by_each_of_its_runs(converter: DataConverter) -> None:
    payload = await sealed(converter.with_context(of_workflow("orderflow-reconcile")))
    run = converter.with_context(of_workflow("orderflow-reconcile-2026-11-30T09:33:09Z"))
    assert await run.decode([payload]) == [VALUE]


async def test_a_key_that_is_missing_is_named_and_found_when_it_comes(ring: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    key_id, _ = create_key(other)
    payload = await sealed(data_converter(Keyring(other)))
    here = data_converter(Keyring(ring))
    found = await raw(here, payload)
    assert why_not_opened(found) == f"it was sealed with key {key_id}, which this keyring lacks"
    with pytest.raises(NotReadable, match=f"sealed with key {key_id}, which this keyring lacks"):
        await here.decode([payload], [dict])
    with pytest.raises(NotReadable, match=f"sealed with key {key_id}, and ORDERFLOW_PAYLOAD_KEYRING_FILE is not set"):
        await DATA_CONVERTER.decode([payload], [dict])
    _append(ring, other)
    assert await here.decode([payload]) == [VALUE]


async def test_what_was_sealed_before_a_rotation_is_opened_after_it(ring: Path) -> None:
    keys = Keyring(ring)
    before = await sealed(data_converter(keys))
    made = rotate_key(ring)
    after = data_converter(Keyring(ring))
    assert await after.decode([before]) == [VALUE]
    payload = await sealed(after)
    assert payload.metadata[KEY_ID] == made.encode()
    # One that has not looked at its file for a moment opens what the others seal already.
    assert await data_converter(keys).decode([payload]) == [VALUE]


async def test_plain_payloads_are_read_and_known_as_plain(converter: DataConverter) -> None:
    plain = await sealed(DATA_CONVERTER)
    plain.metadata[OPENED_WITH] = b"a stranger says so"
    assert await converter.decode([plain]) == [VALUE]
    assert (await raw(converter, plain)).metadata[OPENED_WITH] == UNSEALED
    mine = await raw(converter, await sealed(converter))
    assert mine.metadata[OPENED_WITH] == Keyring.newest.fget(converter.payload_codec._keyring)[0].encode()  # type: ignore


def _garbage(good: Payload) -> list[Payload]:
    chance = random.Random(5)
    found = [
        Payload(),
        Payload(metadata={"encoding": ENCODING}),
        Payload(
            metadata={"encoding": ENCODING, KEY_ID: b"\xff\x00\x1b[31m" * 99, SEALED_FOR: b"\xff" * 999}, data=b"x"
        ),
        Payload(metadata={"encoding": NOT_OPENED}, data=b"\xff\x1b[31m"),
        Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}"),
        Payload(metadata={"encoding": b"json/plain", "__temporal_external_storage_reference": b"true"}, data=b"{}"),
    ]
    for cut in range(0, len(good.data), 7):
        short = Payload()
        short.CopyFrom(good)
        short.data = good.data[:cut]
        found.append(short)
    for _ in range(300):
        bent = bytearray(good.SerializeToString())
        for _ in range(chance.randint(1, 4)):
            bent[chance.randrange(len(bent))] = chance.randrange(256)
        with contextlib.suppress(DecodeError):  # no payload at all: it never gets here
            found.append(Payload.FromString(bytes(bent)))
    return found


async def test_nothing_makes_the_codec_raise(converter: DataConverter) -> None:
    """It would fail the workflow's task at each attempt, for ever."""
    there = converter.with_context(of_step())
    for payload in _garbage(await sealed(there)):
        found = await raw(there, payload)
        assert (
            found.metadata[OPENED_WITH] == UNSEALED or found.data == Payload.FromString(found.SerializeToString()).data
        )
        why = why_not_opened(found)
        assert why is None or (why.isprintable() and len(why) <= 300)
        # As the workflow's worker decodes, before anything else.
        await there._decode_reference_payload_sequence([payload])
        await there._external_retrieve_payload_sequence([payload])


async def test_a_failure_is_sealed_but_for_what_code_reads(converter: DataConverter) -> None:
    there = converter.with_context(of_step())
    try:
        try:
            raise RuntimeError("household-515 has moved")
        except RuntimeError as error:
            raise ApplicationError("tok_canary was declined", {"who": "household-515"}, type="declined") from error
    except ApplicationError as error:
        failure = Failure()
        await there.encode_failure(error, failure)
    said = failure.SerializeToString()
    for canary in (b"household", b"tok_canary", b"test_codec"):
        assert canary not in said
    assert failure.application_failure_info.type == "declined"
    shown = opened(failure, converter)
    assert (shown.message, shown.cause.message) == ("tok_canary was declined", "household-515 has moved")
    assert "test_codec" in shown.stack_trace
    closed = opened(failure, DATA_CONVERTER)
    assert closed.message.startswith("a message that cannot be read: it was sealed with key")
    found = await there.decode_failure(failure)
    assert str(found) == "declined: tok_canary was declined"
    # Handed on, it is sealed again.
    again = Failure()
    await there.encode_failure(found, again)
    assert b"tok_canary" not in again.SerializeToString()


@pytest.mark.parametrize(
    "info",
    [
        ApplicationFailureInfo(category=cast(Any, 99), type="x"),
        ApplicationFailureInfo(details=Payloads(payloads=[Payload(data=b"no encoding")])),
        ApplicationFailureInfo(details=Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"{")])),
        ApplicationFailureInfo(details=Payloads(payloads=[Payload(metadata={"encoding": ENCODING}, data=b"{")])),
    ],
    ids=["category", "encoding", "json", "sealed"],
)
@pytest.mark.parametrize("seals", [True, False])
async def test_a_failure_that_nobody_can_read_is_a_failure_all_the_same(
    converter: DataConverter, info: ApplicationFailureInfo, seals: bool
) -> None:
    here = converter if seals else DATA_CONVERTER
    failure = Failure(message="m", application_failure_info=info, cause=Failure(application_failure_info=info))
    found = here.failure_converter.from_failure(failure, here.payload_converter)
    assert isinstance(found, ApplicationError)


async def test_a_step_is_asked_by_who_seals_for_it_and_by_nobody_else(ring: Path) -> None:
    asked = CapturePayment(order_id=uuid4(), command_id="w:capture:c:forged", trace=Trace())
    strict = data_converter(Keyring(ring)).with_context(of_step(step="capture_payment"))
    assert await strict.decode([await sealed(strict, asked)], [CapturePayment]) == [asked]
    plain = await sealed(DATA_CONVERTER, asked)
    plain.metadata[OPENED_WITH] = b"a stranger says so"
    for forged in (plain, await sealed(strict.with_context(of_step(step="void_payment")), asked)):
        with pytest.raises(NotReadable, match="not sealed for this step by a process of ours"):
            await strict.decode([forged], [CapturePayment])
    turning_on = data_converter(Keyring(ring), takes_plain=True)
    assert await turning_on.decode([plain], [CapturePayment]) == [asked]
    assert await DATA_CONVERTER.decode([plain], [CapturePayment]) == [asked]


def test_every_step_is_asked_what_must_be_sealed() -> None:
    for contract in (OrderSteps, PaymentSteps, InventorySteps):
        for name in contract.__abstractmethods__:
            [asked, _] = get_type_hints(getattr(contract, name)).values()
            assert issubclass(asked, Asked), name
