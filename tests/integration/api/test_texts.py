"""Texts that are refused name their field and rule, and are neither repeated nor logged."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from orderflow.domain.money import DIGITS
from support.api import order_body, placed

CARD = "4111 1111 1111 1111"
HIDDEN = "left\u202eright"


async def errors_of(answer: httpx.Response) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["field"], error["rule"]) for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"customer_id": HIDDEN}, "customer_id", "forbidden_character"),
        ({"customer_id": " a"}, "customer_id", "outer_blanks"),
        ({"customer_id": "e\u0301"}, "customer_id", "not_nfc"),
        ({"customer_id": CARD}, "customer_id", "card_number"),
        ({"reference": f"order {CARD}"}, "reference", "card_number"),
        ({"reference": "a\u2028b"}, "reference", "forbidden_character"),
        ({"payment_token": CARD.replace(" ", "")}, "payment_token", "card_number"),
        ({"payment_token": f"tok-{CARD.replace(' ', '-')}"}, "payment_token", "card_number"),
        ({"currency": "XAU"}, "currency", "currency"),
        ({"currency": "XXX"}, "currency", "currency"),
        ({"currency": "ABC"}, "currency", "currency"),
        ({"currency": "usd"}, "currency", "string_pattern_mismatch"),
    ],
)
async def test_an_order(quiet_api: httpx.AsyncClient, fields: dict[str, Any], field: str, rule: str) -> None:
    with capture_logs() as logged:
        answer = await quiet_api.post("/orders", json=order_body(**fields))
    assert await errors_of(answer) == [(field, rule)]
    for said in (answer.text, str(logged)):
        assert "1111" not in said
        assert "right" not in said


async def test_notes_carriers_and_reasons(quiet_api: httpx.AsyncClient) -> None:
    here = f"/orders/{await placed(quiet_api)}"
    for path, body, expected in (
        (f"{here}/cancel", {"note": f"my card is {CARD}"}, ("note", "card_number")),
        (f"{here}/cancel", {"note": "a\nb"}, ("note", "forbidden_character")),
        (f"{here}/cancel", {"note": "a\u200bb"}, ("note", "forbidden_character")),
        (f"{here}/ship", {"carrier": HIDDEN}, ("carrier", "forbidden_character")),
        (f"{here}/ship", {"tracking_number": "a "}, ("tracking_number", "outer_blanks")),
        ("/inventory/bread/adjustments", {"delta": 1, "reason": HIDDEN}, ("reason", "forbidden_character")),
    ):
        assert await errors_of(await quiet_api.post(path, json=body)) == [expected]
    # 409: its number is in order, and the order is a DRAFT.
    answer = await quiet_api.post(f"{here}/ship", json={"tracking_number": CARD.replace(" ", "")})
    assert answer.status_code == 409
    assert (await quiet_api.post(f"{here}/cancel", json={"note": "👩\u200d👧 ordered twice"})).status_code == 200


async def test_every_currency_that_one_can_pay_with_is_taken(quiet_api: httpx.AsyncClient) -> None:
    schema = (await quiet_api.get("/openapi.json")).json()["components"]["schemas"]["PlaceOrder"]
    assert schema["properties"]["currency"]["enum"] == sorted(DIGITS)
    assert (DIGITS["JPY"], DIGITS["USD"], DIGITS["KWD"], DIGITS["CLF"]) == (0, 2, 3, 4)
    for currency in ("JPY", "KWD", "CLF", "XOF"):
        assert await placed(quiet_api, currency=currency)
