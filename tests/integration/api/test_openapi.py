"""What the API says of itself."""

import json
import re
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
from support.api import order_body, reaches
from support.world import World


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


#: Of every answer, whatever it is about.
GENERAL = {
    *("content-type", "content-length", "cache-control", "x-content-type-options", "content-security-policy"),
    *("referrer-policy", "vary"),
}


async def test_each_header_of_an_answer_is_documented(world: World, api: httpx.AsyncClient) -> None:
    schema = (await api.get("/openapi.json")).json()
    operations = {
        (method.upper(), re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", path))): operation["responses"]
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    seen: set[str] = set()

    async def ask(method: str, path: str, status: int, body: Any = None, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await api.request(method, path, json=body, headers=sent)
        assert answer.status_code == status, answer.text
        [said] = [said for (of, named), said in operations.items() if of == method and named.fullmatch(path)]
        documented = {name.lower() for name in said[str(status)].get("headers", ())}
        assert answer.headers.keys() - GENERAL - documented == set(), (method, path, status)
        seen.update(answer.headers.keys() - GENERAL)
        return answer

    for _ in range(2):  # the second time it is replayed
        placed = await ask("POST", "/orders", 201, order_body(), Idempotency_Key="place")
    here = placed.headers["location"]
    await ask("POST", "/orders", 422, order_body(reference="x"), Idempotency_Key="place")
    for _ in range(2):
        await ask("POST", f"{here}/ship", 409, Idempotency_Key="early", Prefer="wait=1")
        await ask("POST", f"{here}/complete", 412, Idempotency_Key="other", If_Match='"7"', Prefer="wait=1")
        await ask("POST", f"{here}/approve", 200, Idempotency_Key="approve", Prefer="wait=1")
    await reaches(api, placed.json()["id"], "FULFILLING")
    gate = world.gateway.hold("capture")
    for _ in range(2):
        shipping = await ask("POST", f"{here}/ship", 202, Idempotency_Key="ship", Prefer="respond-async")
    gate.set()
    await ask("POST", f"{here}/ship", 200, Idempotency_Key="ship", Prefer="wait=60")
    await ask("GET", shipping.headers["location"], 200)
    order = await ask("GET", here, 200, If_None_Match='"1"', Prefer="wait=0")
    await ask("GET", here, 304, If_None_Match=order.headers["etag"], Prefer="wait=0")
    await ask("GET", "/orders", 200)
    for status in (201, 201, 200):
        key = {} if status == 200 else {"Idempotency_Key": "put"}
        counted = await ask("PUT", "/inventory/counted", status, {"on_hand": 5}, **key)
    for _ in range(2):
        adjusted = {"delta": 1, "reason": "found"}
        counted = await ask("POST", "/inventory/counted/adjustments", 200, adjusted, Idempotency_Key="adjust")
    await ask("GET", "/inventory/counted", 200)
    await ask("GET", "/inventory/counted", 304, If_None_Match=counted.headers["etag"])
    await ask("PUT", "/inventory/counted", 412, {"on_hand": 5}, If_Match='"99"')
    await ask("GET", "/inventory", 401, Authorization="Bearer no")
    await ask("GET", "/problems", 200)
    await ask("GET", "/problems", 403, Origin="https://evil.example")
    await ask("GET", "/health/ready", 200)
    assert seen == {
        *("x-correlation-id", "location", "etag", "idempotent-replayed", "preference-applied", "www-authenticate")
    }


async def test_any_operation_may_be_answered_by_what_stands_before_it(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert {"400", "403", "408", "421", "422", "429", "431", "500", "503"} <= operation["responses"].keys(), (
                path
            )


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
