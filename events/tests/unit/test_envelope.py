"""What is encoded is decoded, and what is not ours is one clear error."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow_events.envelope import EnvelopeError, Record, UnknownEvent, decode, encode
from orderflow_events.models import EVENTS, OrderStateChanged, PaymentFailed

ORDER = UUID("6f2d1c3e-0000-4000-8000-000000000001")
AT = datetime(2026, 11, 23, 17, 30, 1, 250, tzinfo=UTC)


def record(**changes: Any) -> Record:
    event: dict[str, Any] = {
        "source": "/orderflow/payments",
        "type": "PAYMENT_FAILED",
        "order_id": ORDER,
        "version": 1,
        "status": "DECLINED",
        "recorded_at": AT,
        "correlation_id": "corr-1",
        "traceparent": None,
        "data": {"amount": 419, "currency": "USD", "reason": "payment_declined"},
    }
    return encode(**(event | changes))


def read(record: Record, **headers: str | None) -> Any:
    given = {name: None if value is None else value.encode() for name, value in headers.items()}
    changed = [(name, value) for name, value in {**dict(record.headers), **given}.items() if value is not None]
    return decode(changed, record.key, record.value)


def test_an_event_comes_back_typed() -> None:
    envelope = read(record())
    assert envelope.event == PaymentFailed(amount=419, currency="USD", reason="payment_declined")
    assert (envelope.id, envelope.order_id, envelope.version) == (f"payments/{ORDER}/1", ORDER, 1)
    assert (envelope.status, envelope.recorded_at, envelope.traceparent) == ("DECLINED", AT, None)
    assert envelope.dataschema == "urn:orderflow:event:PAYMENT_FAILED:1"


def test_the_value_can_be_read_without_the_headers() -> None:
    assert json.loads(record().value) == {
        "order_id": str(ORDER),
        "version": 1,
        "status": "DECLINED",
        "recorded_at": "2026-11-23T17:30:01.000250Z",
        "data": {"amount": 419, "currency": "USD", "reason": "payment_declined"},
    }


def test_the_same_event_is_the_same_bytes_on_every_resend() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=2)))
    assert record() == record(recorded_at=elsewhere)


def test_trace_headers_are_there_only_when_known() -> None:
    assert "traceparent" not in dict(record().headers)
    traced = dict(record(traceparent="00-a-b-01").headers)
    assert traced["traceparent"] == traced["ce_traceparent"] == b"00-a-b-01"


def test_the_sequence_sorts_as_text_and_is_read_with_and_without_its_zeros() -> None:
    versions = [1, 2, 9, 10, 99, 100, 2**31 - 1]
    sequences = [dict(record(version=version).headers)["ce_sequence"] for version in versions]
    assert sequences == sorted(sequences)
    assert [read(record(version=version)).version for version in versions] == versions
    assert read(record(version=7), ce_sequence="7").version == 7


def test_an_alias_survives() -> None:
    moved = record(type="ORDER_STATE_CHANGED", data={"from": "APPROVED", "to": "FULFILLING"})
    assert read(moved).event == OrderStateChanged(from_="APPROVED", to="FULFILLING")


def test_an_unknown_type_keeps_its_data() -> None:
    envelope = read(record(type="ORDER_SPLIT", data={"into": 2}))
    assert isinstance(envelope.event, UnknownEvent)
    assert envelope.type == "ORDER_SPLIT"
    assert envelope.event.model_dump() == {"into": 2}


def test_a_newer_schema_of_a_known_type_is_an_unknown_event() -> None:
    envelope = read(record(data={"cents": 1}), ce_dataschema="urn:orderflow:event:PAYMENT_FAILED:2")
    assert isinstance(envelope.event, UnknownEvent)


def test_a_field_that_a_newer_producer_added_is_ignored() -> None:
    data = {"amount": 419, "currency": "USD", "reason": "payment_declined", "issuer": "x"}
    assert read(record(data=data)) == read(record())


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_type": None},
        {"ce_specversion": "0.3"},
        {"ce_subject": "not-a-uuid"},
        {"ce_sequence": "0"},
        {"ce_sequence": "one"},
        {"ce_sequence": "2147483648"},
        {"ce_sequence": "9" * 10_000},
        {"ce_time": "yesterday"},
        {"ce_time": "2026-11-23T17:30:01"},
        {"ce_subject": "6f2d1c3e-0000-4000-8000-000000000002"},
    ],
)
def test_a_broken_header_is_an_envelope_error(headers: dict[str, str | None]) -> None:
    with pytest.raises(EnvelopeError):
        read(record(), **headers)


def test_data_that_its_type_forbids_is_an_envelope_error() -> None:
    with pytest.raises(EnvelopeError, match="amount"):
        read(record(data={"currency": "USD", "reason": "payment_declined"}))


@given(st.one_of(st.none(), st.binary(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_any_other_value_is_an_envelope_error(value: bytes | str | None) -> None:
    raw = value.encode() if isinstance(value, str) else value
    with pytest.raises(EnvelopeError):
        decode(record().headers, record().key, raw)


def test_what_cannot_be_written_is_an_envelope_error() -> None:
    with pytest.raises(EnvelopeError, match=f"payments/{ORDER}/1"):
        record(data={"note": "\ud800"})
    with pytest.raises(EnvelopeError):
        record(data={"amount": float("nan")})


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 2**31 - 1), st.sampled_from(sorted(EVENTS)))
def test_any_text_and_version_come_back(text: str, version: int, event_type: str) -> None:
    schema_2 = read(
        record(type=event_type, version=version, correlation_id=text, status=text, data={"x": text}),
        ce_dataschema="urn:other",
    )
    assert (schema_2.correlation_id, schema_2.status, schema_2.version) == (text, text, version)
    assert schema_2.event.model_dump() == {"x": text}
