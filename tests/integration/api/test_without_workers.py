"""While every worker is down, orders and commands are accepted, visible, and happen once when one comes back."""

import httpx

from orderflow.settings import Settings
from orderflow.temporal.client import connect
from support.api import order_body
from support.stack import Databases
from support.waiting import until
from support.world import a_world

ASYNC = {"Prefer": "respond-async"}


async def test_an_order_is_accepted_and_shown_as_placing(api: httpx.AsyncClient) -> None:
    answer = await api.post("/orders", json=order_body(), headers={"Idempotency-Key": "k-1", "Prefer": "wait=0"})
    assert answer.status_code == 202
    accepted = answer.json()
    here = f"/orders/{accepted['id']}"
    assert answer.headers["location"] == f"{here}/commands/w:place"
    assert answer.headers["preference-applied"] == "wait=0"
    assert accepted["command"]["state"] == "not_recorded"
    assert accepted["links"] == {"order": here, "command": f"{here}/commands/w:place"}

    order = await api.get(here)
    assert (order.status_code, order.headers["etag"]) == (200, '"0"')
    shown = order.json()
    assert (shown["status"], shown["version"], shown["total"]) == ("PLACING", 0, 300)
    assert (shown["lines"][0]["sku"], shown["allowed_actions"]) == ("bread", [])
    assert "tok_ok" not in order.text
    assert (await api.get(f"{here}/events")).json()["events"] == []
    assert (await api.get(f"{here}/commands/w:place")).json()["state"] == "not_recorded"
    assert (await api.get("/orders")).json()["orders"] == []


async def test_the_same_key_again_is_the_same_order_and_another_body_is_refused(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1", **ASYNC}
    first = await api.post("/orders", json=order_body(), headers=headers)
    assert first.headers["preference-applied"] == "respond-async"
    again = await api.post("/orders", json=order_body(), headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    other = await api.post("/orders", json=order_body(reference="other"), headers=headers)
    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency_conflict"


async def test_commands_wait_for_a_worker_and_happen_once(
    settings: Settings, databases: Databases, api: httpx.AsyncClient
) -> None:
    order = await api.post("/orders", json=order_body(), headers={"Idempotency-Key": "k-1", **ASYNC})
    here = f"/orders/{order.json()['id']}"
    for _ in range(2):
        approve = await api.post(f"{here}/approve", headers={"Idempotency-Key": "a-1", **ASYNC})
        assert approve.status_code == 202
        assert approve.headers["location"] == f"{here}/commands/c:a-1"
    cancel = await api.post(f"{here}/cancel", json={"note": "late"}, headers={"Idempotency-Key": "c-1", **ASYNC})
    assert cancel.status_code == 202

    async with a_world(await connect(settings), databases, settings):

        async def cancelled() -> bool:
            return bool((await api.get(here)).json()["status"] == "CANCELLED")

        await until(cancelled)
        commands = {c: (await api.get(f"{here}/commands/{c}")).json() for c in ("w:place", "c:a-1", "c:c-1")}
        assert [command["state"] for command in commands.values()] == ["done", "done", "done"]
        assert [command["version"] for command in commands.values()] == [1, 2, 3]
        events = (await api.get(f"{here}/events")).json()["events"]
        assert [event["status"] for event in events] == ["DRAFT", "APPROVED", "CANCELLED"]


async def test_a_request_that_waits_is_answered_when_a_worker_comes_back(
    settings: Settings, databases: Databases, api: httpx.AsyncClient
) -> None:
    import asyncio

    waiting = asyncio.create_task(api.post("/orders", json=order_body(), headers={"Prefer": "wait=60"}))
    async with a_world(await connect(settings), databases, settings):
        answer = await waiting
    assert answer.status_code == 201


async def test_a_refusal_that_comes_after_the_202_is_recorded(
    settings: Settings, databases: Databases, api: httpx.AsyncClient
) -> None:
    order = await api.post("/orders", json=order_body(), headers=ASYNC)
    here = f"/orders/{order.json()['id']}"
    keyed = {"Idempotency-Key": "ship-1", **ASYNC}
    assert (await api.post(f"{here}/ship", headers=keyed)).status_code == 202
    async with a_world(await connect(settings), databases, settings):

        async def recorded() -> bool:
            return bool((await api.get(f"{here}/commands/c:ship-1")).json()["state"] == "refused")

        await until(recorded)
        again = await api.post(f"{here}/ship", headers=keyed)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (409, "true")
        assert again.json()["type"] == "/problems/illegal_transition"
