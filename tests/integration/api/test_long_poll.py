"""``GET /orders/{id}`` with ``If-None-Match`` and ``Prefer: wait=N``: answered as soon as the order has changed."""

import asyncio
import time
from uuid import UUID, uuid4

import httpx
import pytest

from api.app import create_app
from api.orders.waiting import Waiter
from orderflow.domain.access import EVERYONE
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.orders import Orders
from support.api import an_api, placed
from support.keys import MERCHANT
from support.orders import command
from support.stack import Databases
from support.terminal import served
from support.waiting import until


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each request that begins to wait for a change adds "begins", and "ends"."""
    seen: list[str] = []
    order_changes = Waiter.order_changes

    async def noted(*arguments: object) -> bool:
        seen.append("begins")
        try:
            return await order_changes(*arguments)  # type: ignore[arg-type]
        finally:
            seen.append("ends")

    monkeypatch.setattr(Waiter, "order_changes", noted)
    return seen


def seen(version: int, wait: int | None = None) -> dict[str, str]:
    return {"If-None-Match": f'"{version}"'} | ({} if wait is None else {"Prefer": f"wait={wait}"})


async def test_a_change_is_answered_at_once(api: httpx.AsyncClient, waiting: list[str]) -> None:
    here = f"/orders/{await placed(api)}"
    poll = asyncio.create_task(api.get(here, headers=seen(1, 60)))
    await until(lambda: _are(waiting, 1))
    started = time.monotonic()
    await api.post(f"{here}/approve")
    answer = await poll
    assert time.monotonic() - started < 5
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (answer.json()["status"], answer.headers["preference-applied"]) == ("APPROVED", "wait=60")


async def test_what_has_changed_already_is_answered_at_once(api: httpx.AsyncClient, waiting: list[str]) -> None:
    here = f"/orders/{await placed(api)}"
    await api.post(f"{here}/cancel")
    answer = await api.get(here, headers=seen(1, 60))
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    # A version that the order has not yet: it is of another life of the database.
    assert (await api.get(here, headers=seen(7, 60))).status_code == 200
    assert waiting == []


async def test_nothing_new_is_304_when_the_time_is_over(api: httpx.AsyncClient) -> None:
    here = f"/orders/{await placed(api)}"
    started = time.monotonic()
    answer = await api.get(here, headers=seen(1, 1))
    assert time.monotonic() - started >= 1
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert answer.headers["preference-applied"] == "wait=1"


async def test_without_prefer_it_is_an_ordinary_conditional_get(api: httpx.AsyncClient) -> None:
    here = f"/orders/{await placed(api)}"
    async with asyncio.timeout(5):
        for headers in (seen(1), seen(1, 0), seen(1) | {"Prefer": "respond-async"}):
            assert (await api.get(here, headers=headers)).status_code == 304
        plain = await api.get(here, headers={"Prefer": "wait=60"})  # nothing to compare with: nothing to wait for
    assert (plain.status_code, plain.headers["etag"]) == (200, '"1"')
    assert "preference-applied" not in plain.headers


async def test_what_another_process_writes_is_seen(
    api: httpx.AsyncClient, databases: Databases, waiting: list[str]
) -> None:
    order_id = await placed(api)
    async with Database("orders", databases.orders) as elsewhere:
        poll = asyncio.create_task(api.get(f"/orders/{order_id}", headers=seen(1, 60)))
        await until(lambda: _are(waiting, 1))
        await Orders(elsewhere).carry_out(UUID(order_id), command("approve"), EVERYONE)
        assert (await poll).json()["version"] == 2


async def test_an_order_that_is_not_there_is_404_at_once(api: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        answer = await api.get(f"/orders/{uuid4()}", headers=seen(1, 60))
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:orderflow:problems/order_not_found")


async def test_many_wait_at_once_for_many_orders(
    api: httpx.AsyncClient, waiting: list[str], settings: Settings
) -> None:
    """A waiting request holds no connection to the database: many more wait than there are connections."""
    orders = [await placed(api) for _ in range(20)]
    polls = [asyncio.create_task(api.get(f"/orders/{order}", headers=seen(1, 60))) for order in orders for _ in "1234"]
    await until(lambda: _are(waiting, len(polls)))
    assert len(polls) > 5 * settings.database_pool_size
    assert (await api.get("/orders")).status_code == 200
    await asyncio.gather(*(api.post(f"/orders/{order}/cancel") for order in orders))
    answers = await asyncio.gather(*polls)
    assert {(answer.status_code, answer.json()["version"]) for answer in answers} == {(200, 2)}


async def test_who_leaves_is_waited_for_no_longer(settings: Settings, waiting: list[str]) -> None:
    async with served(settings) as url, httpx.AsyncClient(base_url=url, timeout=30, headers=MERCHANT) as client:
        here = f"/orders/{await placed(client)}"
        async with httpx.AsyncClient(base_url=url, headers=MERCHANT) as leaving:
            poll = asyncio.create_task(leaving.get(here, headers=seen(1, 60), timeout=90))
            await until(lambda: _are(waiting, 1))
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
        await until(lambda: _is(waiting == ["begins", "ends"]))
        assert (await client.get(here)).status_code == 200


async def test_when_the_process_is_told_to_stop_who_waits_is_answered(settings: Settings, waiting: list[str]) -> None:
    app = create_app(settings)
    async with an_api(app=app) as api:
        here = f"/orders/{await placed(api)}"
        poll = asyncio.create_task(api.get(here, headers=seen(1, 60)))
        await until(lambda: _are(waiting, 1))
        app.state.stop_waiting()
        async with asyncio.timeout(5):
            assert (await poll).status_code == 304
            assert (await api.get(here, headers=seen(1, 60))).status_code == 304


async def _are(waiting: list[str], number: int) -> bool:
    return waiting.count("begins") == number


async def _is(value: bool) -> bool:
    return value
