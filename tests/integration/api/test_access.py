"""Who is let in, and what is there for whom: every route of the API, by every kind of caller."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter

from api.identity.authorization import OPEN, refuse_silent_routes, requires
from orderflow.domain.access import ROLES, SCOPES, SYSTEM, Scope
from orderflow.security import api_keys
from orderflow.settings import Settings
from orderflow.store.access import Access
from orderflow.store.database import Database
from support.api import a_namespace, an_api, api_settings, order_body, placed
from support.keys import KEY_TEXT, bearer
from support.stack import PostgresServer

MINE, THEIRS = "mine", "theirs"
JSON = {"Content-Type": "application/json"}
#: A body that is good for each route that takes one; a route that is not named takes none, or an empty one.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/orders"): order_body(customer_id=MINE),
    ("PUT", "/inventory/{sku}"): {"on_hand": 1},
    ("POST", "/inventory/{sku}/adjustments"): {"delta": 1, "reason": "found"},
}
#: Each route, and the scope that it needs: a new route is not served before it stands here.
NEEDS: dict[tuple[str, str], Scope | None] = {
    ("POST", "/orders"): Scope.ORDERS_PLACE,
    ("GET", "/orders"): Scope.ORDERS_READ,
    ("GET", "/orders/{order_id}"): Scope.ORDERS_READ,
    ("GET", "/orders/{order_id}/events"): Scope.ORDERS_READ,
    ("GET", "/orders/{order_id}/commands/{command_id}"): Scope.ORDERS_READ,
    ("POST", "/orders/{order_id}/approve"): Scope.ORDERS_APPROVE,
    ("POST", "/orders/{order_id}/ship"): Scope.ORDERS_SHIP,
    ("POST", "/orders/{order_id}/complete"): Scope.ORDERS_COMPLETE,
    ("POST", "/orders/{order_id}/cancel"): Scope.ORDERS_CANCEL,
    ("GET", "/inventory"): Scope.STOCK_READ,
    ("GET", "/inventory/{sku}"): Scope.STOCK_READ,
    ("PUT", "/inventory/{sku}"): Scope.STOCK_WRITE,
    ("POST", "/inventory/{sku}/adjustments"): Scope.STOCK_WRITE,
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/problems"): None,
    ("GET", "/problems/{slug}"): None,
}
OF_ONE_ORDER = [route for route in NEEDS if "{order_id}" in route[1]]


@dataclass
class Door:
    """An API, and keys of all kinds for it."""

    client: httpx.AsyncClient
    access: Access
    owner: str
    mine: str
    theirs: str
    keys: dict[str, str] = field(default_factory=dict)

    async def key(self, name: str, scopes: frozenset[Scope], customer: str | None = None, **when: datetime) -> str:
        """Make a principal of its own and its key."""
        text, key = api_keys.make("test")
        await self.access.make_principal(name, scopes, customer)
        await self.access.make_key(name, key, SYSTEM, **{"expires_at": _in(hours=1), **when})
        self.keys[name] = text
        return text

    async def ask(self, route: tuple[str, str], headers: dict[str, str], order: str | None = None) -> httpx.Response:
        """Send a good request to a route."""
        method, path = route
        path = path.format(order_id=order or self.mine, command_id="w:place", sku="bread", slug="invalid")
        body = BODIES.get(route)
        return await self.client.request(method, path, json=body, headers=headers)


def _in(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


@pytest_asyncio.fixture(scope="module")
async def door(postgres: PostgresServer, temporal_server: str) -> AsyncIterator[Door]:
    databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    async with an_api(settings) as client, Database("orders", databases.as_admin("orders")) as database:
        await client.put("/inventory/bread", json={"on_hand": 10})
        mine, theirs = await placed(client, customer_id=MINE), await placed(client, customer_id=THEIRS)
        del client.headers["Authorization"]
        door = Door(client, Access(database), databases.as_admin("orders"), mine, theirs)
        for role, scopes in ROLES.items():
            await door.key(role, scopes, MINE if role == "customer" else None)
        for scope in Scope:
            await door.key(f"only {scope}", frozenset({scope}), None if scope is Scope.ORDERS_EVERYONE else MINE)
        everything = frozenset(Scope) - {Scope.ORDERS_EVERYONE}
        await door.key("mine", everything, MINE)
        await door.key("theirs", everything, THEIRS)
        await door.key("nobody's", everything)
        await door.key("expired", frozenset(Scope), not_before=_in(hours=-2), expires_at=_in(seconds=-1))
        await door.key("not yet", frozenset(Scope), not_before=_in(minutes=30))
        await door.key("revoked", frozenset(Scope))
        await door.access.revoke("revoked", SYSTEM)
        yield door
    await postgres.drop(databases)


def wrong(door: Door) -> dict[str, dict[str, str]]:
    """What is no caller, by what is wrong with it."""
    good = door.keys["merchant"]
    return {
        "none": {},
        "empty": {"Authorization": ""},
        "another scheme": {"Authorization": f"Basic {good}"},
        "no scheme": {"Authorization": good},
        "two words": {"Authorization": f"Bearer {good} {good}"},
        "mistyped": bearer(good[:-1] + ("0" if good[-1] != "0" else "1")),
        "cut": bearer(good[:-7]),
        "unknown": bearer(api_keys.make("test")[0]),
        "another's secret": bearer(_with_id_of(good)),
        "huge": bearer("x" * 9000),
        "expired": bearer(door.keys["expired"]),
        "not yet": bearer(door.keys["not yet"]),
        "revoked": bearer(door.keys["revoked"]),
    }


def _with_id_of(text: str) -> str:
    """A key that is well-formed, and has a known id and an unknown secret."""
    prefix, deployment, key_id, _ = text.split("_")
    other = api_keys.make(deployment)[0].split("_")[3][:43]
    body = f"{prefix}_{deployment}_{key_id}_{other}"
    return body + api_keys._checksum(body)


async def test_every_route_stands_here_with_what_it_needs(door: Door) -> None:
    schema = (await door.client.get("/openapi.json")).json()
    served = {
        (method.upper(), path): operation["security"]
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }
    assert served == {route: [{"bearer": [str(scope)]}] if scope else [] for route, scope in NEEDS.items()}


@pytest.mark.parametrize("route", NEEDS, ids=" ".join)
async def test_who_is_not_known_is_refused_and_told_nothing(door: Door, route: tuple[str, str]) -> None:
    for name, headers in wrong(door).items():
        for order in (door.mine, str(uuid4())):
            answer = await door.ask(route, headers, order)
            if NEEDS[route] is None:
                assert answer.status_code == 200, name
                continue
            assert answer.status_code == 401, (name, answer.text)
            assert answer.json()["type"] == "urn:orderflow:problems/unauthenticated"
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith('Bearer realm="orderflow"')
            assert ("invalid_token" in challenge) == (name != "none")
            assert KEY_TEXT not in answer.text
            assert door.mine not in answer.text.replace(answer.json()["instance"], "")


@pytest.mark.parametrize("route", [route for route, scope in NEEDS.items() if scope], ids=" ".join)
async def test_who_lacks_the_scope_is_told_which(door: Door, route: tuple[str, str]) -> None:
    needed = NEEDS[route]
    assert needed is not None
    callers = {f"only {scope}": frozenset({scope}) for scope in Scope} | dict(ROLES)
    for name, scopes in callers.items():
        answer = await door.ask(route, bearer(door.keys[name]))
        if needed in scopes:
            assert answer.status_code not in (401, 403), (name, answer.text)
        else:
            assert (answer.status_code, answer.json().get("scope")) == (403, str(needed)), name
            assert f'scope="{needed}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("route", [route for route, scope in NEEDS.items() if scope], ids=" ".join)
async def test_who_is_not_let_in_is_not_told_what_else_is_wrong(door: Door, route: tuple[str, str]) -> None:
    """Of the query, of headers, of the body."""
    method, path = route
    path = path.format(order_id=door.mine, command_id="w:place", sku="bread")
    wrong = {"If-Match": "no tag", "Idempotency-Key": "a b", "If-Modified-Since": "now", "Content-Type": "text/plain"}
    lacks = next(name for name, scopes in ROLES.items() if NEEDS[route] not in scopes)
    for query in ("x=1", "limit=1&limit=2", "cursor=%FF", "limit=x"):
        for key, status in (({}, 401), (bearer("no"), 401), (bearer(door.keys[lacks]), 403)):
            answer = await door.client.request(method, f"{path}?{query}", content="{", headers=wrong | key)
            assert answer.status_code == status, (query, answer.text)
        answer = await door.client.request(method, f"{path}?{query}", headers=bearer(door.keys[f"only {NEEDS[route]}"]))
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:orderflow:problems/invalid")


@pytest.mark.parametrize("route", OF_ONE_ORDER, ids=" ".join)
async def test_what_is_anothers_is_not_there(door: Door, route: tuple[str, str]) -> None:
    """Byte for byte the answer to an order that nobody has, but for the id that the caller sent."""
    headers = {**bearer(door.keys["theirs"]), "X-Correlation-Id": "same"}
    nobodys = str(uuid4())
    anothers, missing = await door.ask(route, headers, door.mine), await door.ask(route, headers, nobodys)
    assert (anothers.status_code, missing.status_code) == (404, 404)
    assert anothers.text.replace(door.mine, "ID") == missing.text.replace(nobodys, "ID")
    ignored = {"date", "content-length"}
    assert {k: v for k, v in anothers.headers.items() if k not in ignored} == {
        k: v for k, v in missing.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("precondition", [{"If-Match": '"1"'}, {"If-None-Match": '"1"', "Prefer": "wait=1"}])
async def test_a_precondition_tells_nothing_of_anothers_order(door: Door, precondition: dict[str, str]) -> None:
    headers = bearer(door.keys["theirs"]) | precondition
    assert (await door.ask(("GET", "/orders/{order_id}"), headers, door.mine)).status_code == 404


async def test_a_list_holds_the_callers_own_alone(door: Door) -> None:
    for name, customers in (("theirs", {THEIRS}), ("merchant", {MINE, THEIRS})):
        for query in ("", "?status=DRAFT", f"?customer_id={MINE}", "?created_from=2020-01-01T00:00:00Z"):
            page = (await door.client.get(f"/orders{query}", headers=bearer(door.keys[name]))).json()
            shown = {order["customer_id"] for order in page["orders"]}
            assert shown == (customers if "customer_id" not in query else customers & {MINE}), (name, query)


async def test_a_list_across_customers_is_written_down(door: Door) -> None:
    owner = await asyncpg.connect(door.owner)

    async def listed() -> int:
        found: int = await owner.fetchval("SELECT count(*) FROM audit WHERE action = 'orders.listed'")
        return found

    before = await listed()
    for name, query in (("theirs", ""), ("merchant", f"?customer_id={MINE}")):
        await door.client.get(f"/orders{query}", headers=bearer(door.keys[name]))
    assert await listed() == before
    await door.client.get("/orders", headers=bearer(door.keys["merchant"]))
    assert await listed() == before + 1
    await owner.close()


async def test_nobody_places_for_another_customer(door: Door) -> None:
    answer = await door.client.post("/orders", json=order_body(customer_id=MINE), headers=bearer(door.keys["theirs"]))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "customer_id")


@pytest.mark.parametrize("route", [route for route, scope in NEEDS.items() if scope and scope.startswith("orders:")])
async def test_without_a_customer_and_without_everyone_there_are_no_orders(door: Door, route: tuple[str, str]) -> None:
    answer = await door.ask(route, bearer(door.keys["nobody's"]))
    assert (answer.status_code, answer.json()["scope"]) == (403, str(Scope.ORDERS_EVERYONE))


async def test_a_key_of_another_means_nothing_to_me(door: Door) -> None:
    """The same Idempotency-Key of two principals: two orders, and neither learns of the other's."""
    sent = {"Idempotency-Key": "checkout-1"}
    mine = await door.client.post(
        "/orders", json=order_body(customer_id=MINE), headers=sent | bearer(door.keys["mine"])
    )
    theirs = await door.client.post(
        "/orders", json=order_body(customer_id=THEIRS), headers=sent | bearer(door.keys["theirs"])
    )
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert "idempotent-replayed" not in theirs.headers
    stock = [
        await door.client.put("/inventory/milk", json={"on_hand": number}, headers=sent | bearer(door.keys[name]))
        for number, name in ((5, "merchant"), (6, "operator"))
    ]
    assert [answer.status_code for answer in stock] == [201, 200]


async def test_a_rotated_key_reaches_the_same_order(door: Door) -> None:
    before = await door.key("rotates", ROLES["merchant"])
    text, key = api_keys.make("test")
    sent = {"Idempotency-Key": "rotated-1"}
    first = await door.client.post("/orders", json=order_body(), headers=sent | bearer(before))
    await door.access.make_key("rotates", key, SYSTEM, expires_at=_in(hours=1))
    again = await door.client.post("/orders", json=order_body(), headers=sent | bearer(text))
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_revoked_key_ends_within_seconds(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = bearer(await door.key("goes", ROLES["merchant"]))
    assert (await door.client.get("/orders", headers=headers)).status_code == 200
    await door.access.revoke("goes", SYSTEM)
    monkeypatch.setattr("api.identity.authentication.FRESH_SECONDS", 0.0)
    assert (await door.client.get("/orders", headers=headers)).status_code == 401


async def test_a_cancel_says_whose_decision_it_was(door: Door) -> None:
    for name, reason in (("customer", "customer"), ("merchant", "customer"), ("operator", "operator")):
        headers = bearer(door.keys[name])
        order = (await door.client.post("/orders", json=order_body(customer_id=MINE), headers=headers)).json()["id"]
        cancelled = (await door.client.post(f"/orders/{order}/cancel", headers=headers)).json()
        assert cancelled["reason"] == reason


def test_a_route_that_says_nothing_is_not_served() -> None:
    router = APIRouter()
    router.add_api_route("/said", lambda: None, dependencies=[OPEN])
    assert [scope for _, scope in refuse_silent_routes([router])] == [None]
    router.add_api_route("/silent", lambda: None)
    with pytest.raises(RuntimeError, match="/silent says neither"):
        refuse_silent_routes([router])
    with pytest.raises(RuntimeError, match="no routes"):
        refuse_silent_routes([APIRouter()])


def test_every_scope_is_explained_and_given_by_a_role() -> None:
    assert SCOPES.keys() == set(Scope) == frozenset().union(*ROLES.values())
    assert requires(Scope.OPERATE) is requires(Scope.OPERATE)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "orders.example.com"])  # noqa: S104
def test_without_authentication_it_listens_on_loopback_alone(host: str) -> None:
    with pytest.raises(ValueError, match="ORDERFLOW_API_AUTHENTICATION is off"):
        Settings(api_authentication="off", api_host=host)
    assert Settings(api_authentication="off", api_host="127.0.0.1").api_authentication == "off"
