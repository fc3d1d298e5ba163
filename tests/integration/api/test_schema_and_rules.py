"""What OpenAPI says of requests is what is taken: neither more nor less."""

import json
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from support.api import order_body

JSON = {"Content-Type": "application/json"}
#: JSON numbers, and what is nearly one.
NUMBERS = ["0", "-0", "1", "-1", "1.0", "-1.0", "1e0", "10E-1", "0.1e1", "2e2", "0.0", "-0.0", "0e5", "1e10", "-1e+9"]
NUMBERS += ["1000000000.0", "1000000001.0", "1e9", "1e12", "1000000000001.0", "1e300", "9999.0", "10000.0"]
NO_INTEGERS = ["1.5", "0.1", "1e-1", '"1"', "true", "null", "[1]", "{}"]


@pytest_asyncio.fixture(scope="module")
async def schema(quiet_api: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await quiet_api.get("/openapi.json")).json())


def parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    return [parameter for operation in operations for parameter in operation.get("parameters", ())]


@pytest.mark.parametrize("number", [*NUMBERS, *NO_INTEGERS])
async def test_an_integer_is_what_json_schema_calls_one(
    quiet_api: httpx.AsyncClient, schema: dict[str, Any], number: str
) -> None:
    await quiet_api.put("/inventory/numbers", json={"on_hand": 10**9 // 2})
    order = json.dumps(order_body(("bread", -7, -8)))
    for name, method, path, body in (
        ("SetStock", "PUT", "/inventory/counted", f'{{"on_hand": {number}}}'),
        ("AdjustStock", "POST", "/inventory/numbers/adjustments", f'{{"delta": {number}, "reason": "x"}}'),
        ("PlaceOrder", "POST", "/orders", order.replace("-7", number).replace("-8", "5")),
        ("PlaceOrder", "POST", "/orders", order.replace("-7", "1").replace("-8", number)),
    ):
        validator = Draft202012Validator({**schema, "$ref": f"#/components/schemas/{name}"})
        answer = await quiet_api.request(method, path, content=body, headers=JSON)
        assert (answer.status_code != 422) == validator.is_valid(json.loads(body)), (name, answer.text)


async def test_an_integer_is_the_same_however_it_is_written(quiet_api: httpx.AsyncClient) -> None:
    await quiet_api.put("/inventory/written", json={"on_hand": 5})
    answers = [
        await quiet_api.post(
            "/inventory/written/adjustments",
            content=f'{{"delta": {number}, "reason": "found"}}',
            headers={**JSON, "Idempotency-Key": "written-1"},
        )
        for number in ("20", "20.0", "2e1", "200E-1")
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.json()["on_hand"] for answer in answers} == {25}


async def test_what_is_an_integer_only_to_a_float_is_refused(quiet_api: httpx.AsyncClient) -> None:
    for number in ("1.00000000000000000000000001", "0.99999999999999999999999999", "1e-400", "1e-99999999999999999999"):
        answer = await quiet_api.put("/inventory/exact", content=f'{{"on_hand": {number}}}', headers=JSON)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "on_hand")
    assert (await quiet_api.get("/inventory/exact")).status_code == 404


async def test_nothing_is_null_that_http_cannot_send_as_null(schema: dict[str, Any]) -> None:
    found = parameters(schema)
    assert {"Idempotency-Key", "If-Match", "If-None-Match", "Prefer"} <= {parameter["name"] for parameter in found}
    assert [parameter["name"] for parameter in found if "null" in json.dumps(parameter["schema"])] == []


def of(schema: dict[str, Any], name: str, place: str = "header") -> dict[str, Any]:
    return next(p["schema"] for p in parameters(schema) if (p["name"], p["in"]) == (name, place))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["If-Match", "If-None-Match", "Idempotency-Key"]),
    value=st.text(st.sampled_from('"W/, *1a;\t\x80'), min_size=1, max_size=8).map(lambda text: text.strip(" \t")),
)
async def test_a_header_is_taken_as_its_pattern_says(
    quiet_api: httpx.AsyncClient, schema: dict[str, Any], name: str, value: str
) -> None:
    answer = await quiet_api.post(
        "/inventory/nowhere/adjustments",
        json={"delta": 1, "reason": "x"},
        headers=[(name.encode(), value.encode("latin-1"))],
    )
    assert (answer.status_code == 400) != Draft202012Validator(of(schema, name)).is_valid(value), answer.text


@pytest.mark.parametrize(
    ("moment", "taken"),
    [
        ("2026-11-23T08:00:00Z", True),
        ("2026-11-23t08:00:00.123456789z", True),
        ("2026-11-23T08:00:00+23:59", True),
        ("2026-11-23T08:00:00-00:00", True),
        ("1990-12-31T23:59:60Z", True),
        ("0001-01-01T00:00:00Z", True),
        ("9999-12-31T23:59:59.999999Z", True),
        ("2026-11-23T08:00:00+0100", False),
        ("2026-11-23T08:00:00,5Z", False),
        ("2026-W48-1T08:00:00Z", False),
        ("2026-02-29T08:00:00Z", False),
        ("0000-01-01T00:00:00Z", False),  # no year that Python or Postgres has
        ("9999-12-31T23:59:60Z", False),
        ("2026-11-23T24:00:00Z", False),
        ("2026-11-23T08:00:61Z", False),
        ("2026-11-23T08:00:00+24:00", False),
        ("2026-11-23T08:00Z", False),
        ("٢٠٢٦-11-23T08:00:00Z", False),
    ],
)
async def test_a_time_is_what_rfc_3339_calls_one(
    quiet_api: httpx.AsyncClient, schema: dict[str, Any], moment: str, taken: bool
) -> None:
    for name in ("created_from", "created_to"):
        assert of(schema, name, "query")["format"] == "date-time"
        answer = await quiet_api.get("/orders", params={name: moment})
        assert answer.status_code == (200 if taken else 422), answer.text


@pytest.mark.parametrize("sku", ["...", ".a", "a.", "..a", "-", "a:b", "x" * 64, "a.b..c", "._."])
async def test_a_sku_that_can_be_made_can_be_reached(quiet_api: httpx.AsyncClient, sku: str) -> None:
    made = await quiet_api.put(f"/inventory/{sku}", json={"on_hand": 1})
    assert made.status_code == 201, made.text
    assert (await quiet_api.get(f"/inventory/{sku}")).json()["sku"] == sku


@pytest.mark.parametrize("sku", [".", ".."])
async def test_a_sku_that_no_url_can_name_cannot_be_made(
    quiet_api: httpx.AsyncClient, schema: dict[str, Any], sku: str
) -> None:
    refused = await quiet_api.post("/orders", json=order_body((sku, 1, 100)))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "lines[0].sku")
    assert "no URL can name" in refused.json()["errors"][0]["message"]
    # Only clients that leave the path as it was typed get there at all.
    refused = await quiet_api.put(f"/inventory/{sku.replace('.', '%2E')}", json={"on_hand": 1})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "path.sku")
    assert not Draft202012Validator(of(schema, "sku", "path")).is_valid(sku)
