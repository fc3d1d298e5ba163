"""What is encoded is decoded, and what is not ours is one clear error."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow_events.envelope import (
    LONGEST_HEADERS,
    LONGEST_STATUS,
    Envelope,
    EnvelopeError,
    Record,
    UnknownEvent,
    decode,
    encode,
)
from orderflow_events.models import EVENTS, OrderStateChanged, PaymentFailed

ORDER = UUID("6f2d1c3e-0000-4000-8000-000000000001")
ORDERS = "/orderflow/orders"
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
    moved = record(
        source=ORDERS, type="ORDER_STATE_CHANGED", status="FULFILLING", data={"from": "APPROVED", "to": "FULFILLING"}
    )
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order_id", "6f2d1c3e-0000-4000-8000-000000000002"),
        ("order_id", None),
        ("version", 2),
        ("version", True),
        ("version", "1"),
        ("status", "AUTHORIZED"),
        ("status", 1),
        ("recorded_at", "2026-11-23T17:30:01.000251Z"),
        ("recorded_at", None),
        ("data", {"amount": "a lot", "currency": "USD", "reason": "payment_declined"}),
    ],
)
@pytest.mark.parametrize("left_out", [False, True])
def test_a_value_that_differs_from_the_headers_is_an_envelope_error(field: str, value: Any, left_out: bool) -> None:
    ours = record()
    body = json.loads(ours.value) | {field: value}
    if left_out:
        del body[field]
    with pytest.raises(EnvelopeError, match=field):
        decode(ours.headers, ours.key, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"ce_id": f"orders/{ORDER}/1"}, "ce_id"),
        ({"ce_id": f"payments/{ORDER}/2"}, "ce_id"),
        ({"ce_sequence": "0000000002", "ce_id": f"payments/{ORDER}/2"}, "version in the value is not ce_sequence"),
        ({"ce_source": "/acme/payments"}, "ce_source is not /orderflow/payments"),
        ({"ce_source": "/orderflow/orders", "ce_id": f"orders/{ORDER}/1"}, "ce_source is not /orderflow/payments"),
        (
            {"ce_type": "PAYMENT_VOIDED", "ce_dataschema": "urn:orderflow:event:PAYMENT_VOIDED:1"},
            "status is not VOIDED",
        ),
        ({"ce_type": "ORDER_APPROVED"}, "ce_source is not /orderflow/orders"),
    ],
)
def test_headers_that_contradict_the_record_are_an_envelope_error(headers: dict[str, str], said: str) -> None:
    with pytest.raises(EnvelopeError, match=said):
        read(record(), **headers)


LONG = "\u20ac" * 201


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": f"/x/{LONG}", "type": "X"}, "ce_source has more than 200 characters"),
        ({"type": LONG}, "ce_type has more than 200 characters"),
        ({"type": "X", "status": LONG}, "status has more than 200 characters"),
        ({"authtype": LONG}, "ce_authtype has more than 200 characters"),
        ({"authid": LONG * 5}, "ce_authid has more than 1000 characters"),
        ({"correlation_id": LONG * 5}, "ce_correlationid has more than 1000 characters"),
        ({"traceparent": LONG * 5}, "ce_traceparent has more than 1000 characters"),
        ({"headers": {"traceparent": LONG * 5}}, "traceparent has more than 1000 characters"),
        ({"source": "/x/a\x00b", "type": "X"}, "ce_source is not printable"),
        ({"source": "/x/a\x1b]0;x\x07", "type": "X"}, "ce_source is not printable"),
        ({"type": "X\nERROR"}, "ce_type is not printable"),
    ],
)
def test_what_no_row_index_or_terminal_should_be_given_is_no_event(changes: dict[str, Any], said: str) -> None:
    others = changes.get("headers", {})
    with pytest.raises(EnvelopeError, match=f"^{said}$"):
        read(record(**{name: value for name, value in changes.items() if name != "headers"}), **others)


def test_every_field_of_an_envelope_has_a_greatest_length() -> None:
    """Whatever is added to it: a text of a megabyte is refused wherever it stands, or is no text that is kept."""
    texts = {field.name for field in fields(Envelope) if field.type in (str, str | None)}
    computed = {"id": "source, order_id and version"}
    of = {"correlation_id": "ce_correlationid", "traceparent": "ce_traceparent", "sent_traceparent": "traceparent"}
    bounded = {of.get(name, f"ce_{name}") for name in texts - {"status"} - set(computed)}
    assert bounded == set(LONGEST_HEADERS)


def test_the_longest_that_we_write_is_read() -> None:
    """100 characters of a correlation id and of an actor, and a trace context: what the API lets in."""
    traced = f"00-{'a' * 32}-{'b' * 16}-01"
    ours = record(correlation_id="c" * 100, authtype="service_account", authid="p" * 100, traceparent=traced)
    envelope = read(ours)
    assert (envelope.correlation_id, envelope.authid, envelope.sent_traceparent) == ("c" * 100, "p" * 100, traced)


def test_an_order_moves_to_where_its_status_says() -> None:
    data = {"from": "APPROVED", "to": "CANCELLED"}
    with pytest.raises(EnvelopeError, match="status is not what data says"):
        read(record(source=ORDERS, type="ORDER_STATE_CHANGED", status="SHIPPED", data=data))


@pytest.mark.parametrize("key", [None, b"", b"6f2d1c3e-0000-4000-8000-000000000002", str(ORDER).upper().encode()])
def test_the_key_is_the_order(key: bytes | None) -> None:
    with pytest.raises(EnvelopeError, match="the key is not ce_subject"):
        decode(record().headers, key, record().value)


SECRET = "4242424242424242"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"amount": SECRET + "x", "currency": {"of": SECRET}, "reason": None}},
        {"data": SECRET},
        {"source": ORDERS, "type": "ORDER_STATE_CHANGED", "data": {"from": "A", "to": SECRET}},
        {"status": SECRET},
        *({"headers": {name: SECRET}} for name in ("ce_specversion", "ce_id", "ce_source", "ce_subject")),
        *({"headers": {name: SECRET}} for name in ("ce_sequence", "ce_time")),
        {"key": SECRET.encode()},
        {"value": SECRET.encode() + b"{"},
        {"value": json.dumps({"order_id": SECRET, "version": SECRET}).encode()},
        {"value": json.dumps({"status": "\ud800" + SECRET, "data": {}}).encode()},
    ],
)
def test_no_error_quotes_the_record(changes: dict[str, Any]) -> None:
    others = {name: changes.pop(name) for name in ("headers", "key", "value") if name in changes}
    ours = record(**changes)
    headers = dict(ours.headers) | {name: text.encode() for name, text in others.get("headers", {}).items()}
    with pytest.raises(EnvelopeError) as refused:
        decode(headers.items(), others.get("key", ours.key), others.get("value", ours.value))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_record_of_the_first_release_is_read() -> None:
    """As 0.1.0 wrote it, byte by byte: without who asked."""
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", f"payments/{ORDER}/1".encode()),
        ("ce_source", b"/orderflow/payments"),
        ("ce_type", b"PAYMENT_FAILED"),
        ("ce_subject", str(ORDER).encode()),
        ("ce_sequence", b"0000000001"),
        ("ce_time", b"2026-11-23T17:30:01.000250Z"),
        ("ce_dataschema", b"urn:orderflow:event:PAYMENT_FAILED:1"),
        ("ce_correlationid", b"corr-1"),
    ]
    value = (
        f'{{"order_id":"{ORDER}","version":1,"status":"DECLINED","recorded_at":"2026-11-23T17:30:01.000250Z",'
        '"data":{"amount":419,"currency":"USD","reason":"payment_declined"}}'
    )
    envelope = decode(headers, str(ORDER).encode(), value.encode())
    assert (envelope.status, envelope.version, envelope.authtype) == ("DECLINED", 1, "unknown")


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


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=LONGEST_STATUS),
    st.integers(1, 2**31 - 1),
    st.sampled_from(sorted(EVENTS)),
)
def test_any_text_and_version_come_back(text: str, version: int, event_type: str) -> None:
    schema_2 = read(
        record(
            source=EVENTS[event_type].source,
            type=event_type,
            version=version,
            correlation_id=text,
            status=text,
            data={"x": text},
        ),
        ce_dataschema="urn:other",
    )
    assert (schema_2.correlation_id, schema_2.status, schema_2.version) == (text, text, version)
    assert schema_2.event.model_dump() == {"x": text}
