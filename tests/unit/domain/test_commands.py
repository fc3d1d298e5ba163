"""What makes two requests the same, and which keys and amounts are taken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orderflow.domain.commands import IDEMPOTENCY_KEY, request_hash
from orderflow.domain.money import Amount
from orderflow.domain.orders import Line

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, min_size=2))
def test_the_order_of_fields_does_not_change_a_request(body: dict[str, object]) -> None:
    assert request_hash("ship", body) == request_hash("ship", dict(reversed(body.items())))


@given(json_values, json_values)
def test_other_bodies_and_other_commands_are_other_requests(one: object, other: object) -> None:
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert request_hash("ship", one) != request_hash("ship", other)
    assert request_hash("ship", one) != request_hash("cancel", one)


def test_text_that_no_encoding_takes_can_be_hashed() -> None:
    assert len(request_hash("cancel", {"note": "\ud800"})) == 64


@pytest.mark.parametrize("key", ["a", "A-Z.0_9~", "x" * 200])
def test_good_keys(key: str) -> None:
    assert IDEMPOTENCY_KEY.fullmatch(key)


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "a/b", "é", "a\n", "a:b"])
def test_bad_keys(key: str) -> None:
    assert not IDEMPOTENCY_KEY.fullmatch(key)


@pytest.mark.parametrize("amount", [4.19, "419", True, 0, -1, 10**12 + 1, None])
def test_money_is_a_positive_integer_of_minor_units(amount: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Amount).validate_python(amount)


@given(quantity=st.integers(1, 9_999), unit_price=st.integers(1, 10**12))
def test_a_line_costs_what_it_says(quantity: int, unit_price: int) -> None:
    assert Line(sku="bread", quantity=quantity, unit_price=unit_price).total == quantity * unit_price


@pytest.mark.parametrize(
    ("sku", "quantity"), [("", 1), ("a b", 1), ("x" * 65, 1), ("a\x00", 1), ("a", 0), ("a", 10_000)]
)
def test_bad_lines(sku: str, quantity: int) -> None:
    with pytest.raises(ValidationError):
        Line(sku=sku, quantity=quantity, unit_price=1)
