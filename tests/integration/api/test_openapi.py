"""What the API says of itself."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import httpx
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from api.http.problems import TYPES
from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.orders import Reason
from orderflow.domain.payments import PaymentStatus
from support.api import order_body


@pytest_asyncio.fixture(scope="module")
async def schema(quiet_api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await quiet_api.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


async def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert references(schema) - known == set()


async def test_every_problem_type_is_documented_on_a_route(schema: dict[str, Any]) -> None:
    text = json.dumps(schema["paths"])
    generic = {"not_found", "method_not_allowed"}  # of no route: they answer where there is none
    assert {slug for slug in TYPES if f"/problems/{slug}`" not in text} <= generic


async def test_the_examples_of_bodies_are_valid(schema: dict[str, Any]) -> None:
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for path in schema["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    ]
    assert {"PlaceOrder", "Ship", "Cancel", "SetStock", "AdjustStock"} <= set(bodies)
    for name in bodies:
        validator = Draft202012Validator({**schema, "$ref": f"#/components/schemas/{name}"})
        validator.validate(schema["components"]["schemas"][name]["example"])


async def test_answers_are_as_documented(schema: dict[str, Any], quiet_api: httpx.AsyncClient) -> None:
    placed = await quiet_api.post("/orders", json=order_body())
    here = f"/orders/{placed.json()['id']}"
    approved = await quiet_api.post(f"{here}/approve")
    order = await quiet_api.get(here)
    command = await quiet_api.get(f"{here}/commands/w:place")
    listed = await quiet_api.get("/orders")
    events = await quiet_api.get(f"{here}/events")
    refused = await quiet_api.post("/orders", json={})
    ready = await quiet_api.get("/health/ready")
    for answer, name in (
        (placed, "OrderAnswer"),
        (approved, "OrderAnswer"),
        (order, "OrderDocument"),
        (command, "CommandDocument"),
        (listed, "OrderPage"),
        (events, "EventList"),
        (refused, "ProblemDocument"),
        (ready, "Ready"),
    ):
        Draft202012Validator({**schema, "$ref": f"#/components/schemas/{name}"}).validate(answer.json())


async def test_only_a_ship_is_documented_as_accepted_for_later(schema: dict[str, Any]) -> None:
    later = {
        path
        for path, operations in schema["paths"].items()
        for operation in operations.values()
        if "202" in operation["responses"]
    }
    assert later == {"/orders/{order_id}/ship"}
    read = schema["paths"]["/orders/{order_id}"]["get"]
    assert "304" in read["responses"]
    assert {"If-None-Match", "Prefer"} <= {parameter["name"] for parameter in read["parameters"]}


async def test_each_operation_says_which_scope_it_needs(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    said = {
        (method, path): operation["security"]
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    assert said["post", "/orders/{order_id}/ship"] == [{"bearer": ["orders:ship"]}]
    assert said["put", "/inventory/{sku}"] == [{"bearer": ["stock:write"]}]
    assert {path for (_, path), needs in said.items() if not needs} == {
        *("/health/live", "/health/ready", "/problems", "/problems/{slug}")
    }


async def test_problem_types_lead_to_their_meaning(quiet_api: httpx.AsyncClient) -> None:
    pages = (await quiet_api.get("/problems")).json()["problems"]
    assert {page["type"] for page in pages} == {f"urn:orderflow:problems/{slug}" for slug in TYPES}
    page = await quiet_api.get("/problems/too_many_requests")
    assert (page.status_code, page.json()["status"]) == (200, 429)
    assert (await quiet_api.get("/problems/none")).status_code == 404


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ("PaymentDocument", "status", PaymentStatus),
        ("PaymentDocument", "reason", Reason),
        ("InventoryDocument", "status", ReservationStatus),
        ("InventoryDocument", "reason", Reason),
        ("OrderDocument", "reason", Reason),
        ("OrderSummaryDocument", "reason", Reason),
        ("EventDocument", "reason", Reason),
    ],
)
async def test_the_known_words_of_an_open_vocabulary_are_named_and_others_are_valid(
    schema: dict[str, Any], document: str, field: str, words: type[StrEnum]
) -> None:
    said = schema["components"]["schemas"][document]["properties"][field]
    known = next(kind for kind in flattened(said) if "enum" in kind)
    assert known["enum"] == [word.value for word in words]
    assert "Open:" in json.dumps(said)
    Draft202012Validator(said).validate("a_word_of_a_newer_release")
    assert not Draft202012Validator(said).is_valid(7)


def flattened(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield said
    for kind in said.get("anyOf", ()):
        yield from flattened(kind)
