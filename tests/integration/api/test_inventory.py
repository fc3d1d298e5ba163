"""Stock over HTTP: nothing is lost, nothing that orders hold is taken away. No worker runs."""

import asyncio

import asyncpg
import httpx
import pytest

from support.stack import Databases


async def movements(databases: Databases, sku: str) -> list[tuple[str, int, int, int]]:
    """(kind, delta, on_hand, version) of each, in order."""
    connection = await asyncpg.connect(databases.inventory)
    rows = await connection.fetch(
        "SELECT kind, delta, on_hand, version FROM stock_movements WHERE sku = $1 ORDER BY version", sku
    )
    await connection.close()
    return [tuple(row) for row in rows]


async def reserve(databases: Databases, sku: str, quantity: int) -> None:
    """As an order's reservation does."""
    connection = await asyncpg.connect(databases.inventory)
    await connection.execute(
        "UPDATE stock SET reserved = reserved + $2, version = version + 1 WHERE sku = $1", sku, quantity
    )
    await connection.close()


async def test_put_makes_a_sku_and_states_its_stock(api: httpx.AsyncClient, databases: Databases) -> None:
    made = await api.put("/inventory/SKU-1", json={"on_hand": 5})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    changed = await api.put("/inventory/SKU-1", json={"on_hand": 3})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["delta"] == -2
    shown = await api.get("/inventory/SKU-1")
    assert (shown.status_code, shown.headers["etag"]) == (200, '"2"')
    assert {k: shown.json()[k] for k in ("sku", "on_hand", "reserved", "available")} == {
        "sku": "SKU-1",
        "on_hand": 3,
        "reserved": 0,
        "available": 3,
    }
    assert await movements(databases, "SKU-1") == [("set", 5, 5, 1), ("set", -2, 3, 2)]


async def test_if_match_refuses_a_stale_put(api: httpx.AsyncClient) -> None:
    assert (await api.put("/inventory/a", json={"on_hand": 5}, headers={"If-Match": '"1"'})).status_code == 412
    await api.put("/inventory/a", json={"on_hand": 5})
    stale = await api.put("/inventory/a", json={"on_hand": 6}, headers={"If-Match": '"9"'})
    assert (stale.status_code, stale.json()["current_version"]) == (412, 1)
    assert (await api.put("/inventory/a", json={"on_hand": 6}, headers={"If-Match": '"1"'})).status_code == 200


async def test_what_orders_hold_cannot_be_taken_away(api: httpx.AsyncClient, databases: Databases) -> None:
    await api.put("/inventory/a", json={"on_hand": 5})
    await reserve(databases, "a", 3)
    for answer in (
        await api.put("/inventory/a", json={"on_hand": 2}),
        await api.post("/inventory/a/adjustments", json={"delta": -3, "reason": "broken"}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:orderflow:problems/stock_reserved")
    down = await api.post("/inventory/a/adjustments", json={"delta": -2, "reason": "broken"})
    assert (down.status_code, down.json()["on_hand"], down.json()["available"]) == (200, 3, 0)


async def test_adjustments_need_a_sku_and_keep_the_limit(api: httpx.AsyncClient) -> None:
    one_more = {"delta": 1, "reason": "found"}
    unknown = await api.post("/inventory/a/adjustments", json=one_more)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:orderflow:problems/sku_not_found")
    assert (await api.get("/inventory/a")).status_code == 404
    await api.put("/inventory/a", json={"on_hand": 10**9})
    full = await api.post("/inventory/a/adjustments", json=one_more)
    assert (full.status_code, full.json()["type"]) == (409, "urn:orderflow:problems/stock_limit")


async def test_the_same_key_adjusts_once(api: httpx.AsyncClient, databases: Databases) -> None:
    await api.put("/inventory/a", json={"on_hand": 5})
    await api.put("/inventory/b", json={"on_hand": 5})
    keyed = {"Idempotency-Key": "count-1"}
    body = {"delta": 2, "reason": "found"}
    first = await api.post("/inventory/a/adjustments", json=body, headers=keyed)
    await api.put("/inventory/a", json={"on_hand": 50})
    again = await api.post("/inventory/a/adjustments", json=body, headers=keyed)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (again.headers["etag"], again.headers["idempotent-replayed"]) == ('"2"', "true")
    for sku, other in (("a", {"delta": 3, "reason": "found"}), ("b", body)):
        answer = await api.post(f"/inventory/{sku}/adjustments", json=other, headers=keyed)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:orderflow:problems/idempotency_conflict")
    assert [on_hand for _, _, on_hand, _ in await movements(databases, "a")] == [5, 7, 50]


async def test_adjustments_at_once_are_all_counted(api: httpx.AsyncClient, databases: Databases) -> None:
    await api.put("/inventory/a", json={"on_hand": 100})
    answers = await asyncio.gather(
        *(api.post("/inventory/a/adjustments", json={"delta": n, "reason": "at once"}) for n in range(1, 31))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await api.get("/inventory/a")).json()["on_hand"] == 100 + sum(range(1, 31))
    assert [version for *_, version in await movements(databases, "a")] == list(range(1, 32))


async def test_the_same_adjustment_at_once_is_counted_once(api: httpx.AsyncClient) -> None:
    await api.put("/inventory/a", json={"on_hand": 100})
    keyed = {"Idempotency-Key": "count-1"}
    body = {"delta": 1, "reason": "at once"}
    answers = await asyncio.gather(*(api.post("/inventory/a/adjustments", json=body, headers=keyed) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert (await api.get("/inventory/a")).json()["on_hand"] == 101


async def test_puts_at_once_are_all_recorded(api: httpx.AsyncClient, databases: Databases) -> None:
    answers = await asyncio.gather(*(api.put("/inventory/a", json={"on_hand": n}) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    recorded = await movements(databases, "a")
    assert sum(delta for _, delta, *_ in recorded) == (await api.get("/inventory/a")).json()["on_hand"]
    assert {on_hand for _, _, on_hand, _ in recorded} == set(range(20))


async def test_of_puts_at_once_on_one_version_one_wins(api: httpx.AsyncClient) -> None:
    await api.put("/inventory/a", json={"on_hand": 100})
    answers = await asyncio.gather(
        *(api.put("/inventory/a", json={"on_hand": n}, headers={"If-Match": '"1"'}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_stock_is_listed_a_page_at_a_time(api: httpx.AsyncClient) -> None:
    for sku in ("c", "a", "e", "b", "d"):
        await api.put(f"/inventory/{sku}", json={"on_hand": 1})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/inventory", params={"limit": 2, **cursor})).json()
        seen += [stock["sku"] for stock in page["stock"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"on_hand": -1}, "on_hand"),
        ({"on_hand": 10**9 + 1}, "on_hand"),
        ({"on_hand": 1.5}, "on_hand"),
        ({"on_hand": "1"}, "on_hand"),
        ({"on_hand": True}, "on_hand"),
        ({}, "on_hand"),
        ({"on_hand": 1, "onhand": 2}, "onhand"),
    ],
)
async def test_bad_counts_are_refused(quiet_api: httpx.AsyncClient, body: object, field: str) -> None:
    answer = await quiet_api.put("/inventory/a", json=body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"delta": 0, "reason": "x"}, "delta"),
        ({"delta": 0.5, "reason": "x"}, "delta"),
        ({"delta": 10**9 + 1, "reason": "x"}, "delta"),
        ({"delta": 1}, "reason"),
        ({"delta": 1, "reason": ""}, "reason"),
        ({"delta": 1, "reason": "a\u0000b"}, "reason"),
        ({"delta": 1, "reason": "x" * 101}, "reason"),
    ],
)
async def test_bad_adjustments_are_refused(quiet_api: httpx.AsyncClient, body: object, field: str) -> None:
    answer = await quiet_api.post("/inventory/a/adjustments", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("sku", ["a b", "x" * 65, "%00", "ä", "a%2Fb", "%2E", "%2E%2E", "%2e."])
async def test_a_sku_in_the_path_keeps_the_rule(quiet_api: httpx.AsyncClient, sku: str) -> None:
    answer = await quiet_api.get(f"/inventory/{sku}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await quiet_api.put(f"/inventory/{sku}", json={"on_hand": 1})).status_code in (404, 422)
