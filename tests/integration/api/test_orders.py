"""An order's life over HTTP, with all workers running."""

from uuid import UUID, uuid4

import httpx
import pytest

from orderflow.store.order_views import OrderViews
from support.api import fulfilling, order_body, placed, reaches
from support.keys import command_id
from support.world import World


async def test_an_order_goes_from_draft_to_completed(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.post("/orders", json=order_body(("bread", 2, 150), ("milk", 1, 99)))
    assert answer.status_code == 201
    order = answer.json()
    here = f"/orders/{order['id']}"
    assert answer.headers["location"] == here
    assert answer.headers["etag"] == '"1"'
    assert "idempotent-replayed" not in answer.headers
    assert order["command"] == {"id": "w:place", "name": "place", "state": "done", "version": 1, "status": "DRAFT"}
    assert (order["status"], order["version"], order["total"]) == ("DRAFT", 1, 399)
    assert order["lines"][0] == {"sku": "bread", "quantity": 2, "unit_price": 150, "total": 300}
    assert order["allowed_actions"] == ["approve", "cancel"]

    approved = await api.post(f"{here}/approve")
    assert approved.status_code == 200
    assert approved.json()["command"]["status"] == "APPROVED"
    await reaches(api, order["id"], "FULFILLING")

    shipped = await api.post(f"{here}/ship", json={"carrier": "DHL", "tracking_number": "JD01"})
    assert shipped.status_code == 200
    assert shipped.headers["etag"] == '"4"'
    completed = await api.post(f"{here}/complete")
    assert completed.status_code == 200
    assert completed.json()["status"] == "COMPLETED"
    assert completed.json()["allowed_actions"] == []

    events = (await api.get(f"{here}/events")).json()["events"]
    assert [event["status"] for event in events] == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert events[3]["data"]["carrier"] == "DHL"
    assert events[3]["data"]["tracking_number"] == "JD01"


async def test_a_document_shows_everything_of_an_order(world: World, api: httpx.AsyncClient) -> None:
    order_id = await placed(api)
    order = (await api.get(f"/orders/{order_id}")).json()
    namespace = world.settings.temporal_namespace
    assert order["links"] == {
        "self": f"/orders/{order_id}",
        "events": f"/orders/{order_id}/events",
        "temporal_ui": f"http://localhost:8233/namespaces/{namespace}/workflows/order-{order_id}",
    }
    shown = {"id", "status", "version", "reason", "customer_id", "reference", "currency", "lines", "total"}
    shown |= {"created_at", "updated_at", "allowed_actions", "payment", "inventory", "tracked_at", "links"}
    assert set(order) == shown
    assert (order["payment"], order["inventory"], order["tracked_at"]) == (None, None, None)


async def test_what_the_stream_says_stands_in_the_document_and_the_history(
    world: World, api: httpx.AsyncClient
) -> None:
    from datetime import UTC, datetime

    from orderflow.store.tracking import INVENTORY, PAYMENTS, Tracked, track

    order_id = await placed(api)
    at = datetime.now(UTC)
    async with (await world.orders.pool()).acquire() as connection:
        await track(
            connection,
            [
                Tracked(UUID(order_id), PAYMENTS, 1, "PAYMENT_FAILED", "DECLINED", "payment_declined", at),
                Tracked(UUID(order_id), INVENTORY, 1, "INVENTORY_RESERVED", "RESERVED", None, at),
            ],
        )
    order = (await api.get(f"/orders/{order_id}")).json()
    assert order["payment"] == {"status": "DECLINED", "authorized": False, "reason": "payment_declined"}
    assert order["inventory"] == {"status": "RESERVED", "reserved": True, "reason": None}
    assert order["tracked_at"] is not None
    events = (await api.get(f"/orders/{order_id}/events")).json()["events"]
    assert [event["source"] for event in events] == [
        "/orderflow/orders",
        "/orderflow/inventory",
        "/orderflow/payments",
    ]
    assert events[2]["id"] == f"payments/{order_id}/1"
    assert events[2]["tracked_at"] is not None


async def test_a_customer_cancels_with_a_note(world: World, api: httpx.AsyncClient) -> None:
    order_id = await placed(api)
    answer = await api.post(f"/orders/{order_id}/cancel", json={"note": "ordered twice"})
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("CANCELLED", "customer")
    data = (await api.get(f"/orders/{order_id}/events")).json()["events"][1]["data"]
    assert (data["reason"], data["note"]) == ("customer", "ordered twice")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"payment_token": "tok_declined"}, "payment_declined"),
        ({"payment_token": "tok_insufficient_funds"}, "insufficient_funds"),
        ({"lines": [{"sku": "bread", "quantity": 99, "unit_price": 1}]}, "out_of_stock"),
        ({"lines": [{"sku": "caviar", "quantity": 1, "unit_price": 1}]}, "unknown_sku"),
    ],
)
async def test_an_order_that_cannot_be_fulfilled_is_cancelled_with_the_reason(
    world: World, api: httpx.AsyncClient, fields: dict[str, object], reason: str
) -> None:
    order_id = await placed(api, **fields)
    await api.post(f"/orders/{order_id}/approve")
    assert (await reaches(api, order_id, "CANCELLED"))["reason"] == reason


async def test_the_answer_to_a_command_holds_the_order_and_reads_nothing_again(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = OrderViews.read

    async def never(*_: object) -> None:
        raise AssertionError("the statement that carried it out says what the answer needs")

    monkeypatch.setattr(OrderViews, "read", never)
    answers = [await api.post("/orders", json=order_body(("bread", 2, 150), ("milk", 1, 99)))]
    here = f"/orders/{answers[0].json()['id']}"
    answers += [await api.post(f"{here}/{name}") for name in ("approve", "cancel")]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    shown = [answer.json() for answer in answers]
    assert [answer.pop("command")["status"] for answer in shown] == ["DRAFT", "APPROVED", "CANCELLED"]
    assert [answer["payment"] or answer["inventory"] or answer["tracked_at"] for answer in shown] == [None] * 3
    monkeypatch.setattr(OrderViews, "read", read)
    assert (await api.get(here)).json() == shown[-1]
    assert [answer.headers["etag"] for answer in answers] == ['"1"', '"2"', '"3"']


async def test_only_a_ship_waits(api: httpx.AsyncClient) -> None:
    waits = {"Prefer": "wait=60"}
    placed = await api.post("/orders", json=order_body(), headers=waits)
    approved = await api.post(f"/orders/{placed.json()['id']}/approve", headers={"Prefer": "respond-async"})
    for answer, status in ((placed, 201), (approved, 200)):
        assert answer.status_code == status
        assert "preference-applied" not in answer.headers


async def test_what_the_lifecycle_forbids_is_409_with_what_it_allows(world: World, api: httpx.AsyncClient) -> None:
    order_id = await placed(api)
    answer = await api.post(f"/orders/{order_id}/ship")
    problem = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:orderflow:problems/illegal_transition"
    assert problem["instance"] == f"/orders/{order_id}/ship"
    assert problem["allowed_actions"] == ["approve", "cancel"]
    assert (problem["current_status"], problem["current_version"]) == ("DRAFT", 1)


async def test_if_match_names_the_version(world: World, api: httpx.AsyncClient) -> None:
    order_id = await placed(api)
    stale = await api.post(f"/orders/{order_id}/approve", headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    assert stale.json()["current_version"] == 1
    assert (await api.post(f"/orders/{order_id}/approve", headers={"If-Match": '"1"'})).status_code == 200


async def test_a_refused_capture_is_402_and_the_order_stays(world: World, api: httpx.AsyncClient) -> None:
    order_id = await fulfilling(api)
    world.gateway.refuse_capture = True
    keyed = {"Idempotency-Key": "ship-1"}
    answer = await api.post(f"/orders/{order_id}/ship", headers=keyed)
    assert answer.status_code == 402
    assert answer.json()["type"] == "urn:orderflow:problems/capture_refused"
    again = await api.post(f"/orders/{order_id}/ship", headers=keyed)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (402, "true")
    assert again.json()["detail"] == answer.json()["detail"]
    command = (await api.get(f"/orders/{order_id}/commands/{command_id('ship-1')}")).json()
    assert (command["state"], command["problem"]["status"]) == ("refused", 402)

    world.gateway.refuse_capture = False
    assert (await api.get(f"/orders/{order_id}")).json()["allowed_actions"] == ["ship", "cancel"]
    assert (await api.post(f"/orders/{order_id}/ship")).status_code == 200


async def test_while_a_ship_waits_for_its_capture_nothing_else_may_happen(world: World, api: httpx.AsyncClient) -> None:
    order_id = await fulfilling(api)
    gate = world.gateway.hold("capture")
    keyed = {"Idempotency-Key": "ship-1", "Prefer": "wait=0"}
    first = await api.post(f"/orders/{order_id}/ship", headers=keyed)
    assert (first.status_code, first.headers["preference-applied"]) == (202, "wait=0")
    assert first.headers["location"] == f"/orders/{order_id}/commands/{command_id('ship-1')}"
    assert first.json()["links"] == {"order": f"/orders/{order_id}", "command": first.headers["location"]}
    pending = (await api.get(first.headers["location"])).json()
    assert (pending["name"], pending["state"], pending["version"]) == ("ship", "pending", None)
    assert (await api.get(f"/orders/{order_id}")).json()["allowed_actions"] == []
    cancel = await api.post(f"/orders/{order_id}/cancel")
    assert (cancel.status_code, cancel.json()["type"]) == (409, "urn:orderflow:problems/shipment_in_progress")
    again = await api.post(f"/orders/{order_id}/ship", headers=keyed)
    assert (again.status_code, again.json()["command"]["state"]) == (202, "pending")
    assert again.headers["idempotent-replayed"] == "true"
    gate.set()
    ended = await api.post(f"/orders/{order_id}/ship", headers={"Idempotency-Key": "ship-1"})
    assert (ended.status_code, ended.json()["command"]["version"]) == (200, 4)
    assert ended.headers["idempotent-replayed"] == "true"
    assert (await api.get(first.headers["location"])).json()["state"] == "done"
    assert [call for call, _ in world.gateway.calls].count("capture") == 1


async def test_an_unknown_order_is_404_everywhere(world: World, api: httpx.AsyncClient) -> None:
    here = f"/orders/{uuid4()}"
    answers = [await api.get(here + path) for path in ("", "/events", "/commands/c:1")]
    answers += [await api.post(f"{here}/{command}") for command in ("approve", "ship", "complete", "cancel")]
    for answer in answers:
        assert answer.status_code == 404, answer.request.url
        assert answer.json()["type"] == "urn:orderflow:problems/order_not_found"


async def test_a_command_that_was_never_received_is_not_recorded(world: World, api: httpx.AsyncClient) -> None:
    order_id = await placed(api)
    answer = await api.get(f"/orders/{order_id}/commands/c:never")
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["version"]) == ("not_recorded", None)


async def test_the_correlation_id_comes_back_and_goes_into_the_events(world: World, api: httpx.AsyncClient) -> None:
    answer = await api.post("/orders", json=order_body(), headers={"X-Correlation-ID": "checkout-9"})
    assert answer.headers["x-correlation-id"] == "checkout-9"
    order_id = answer.json()["id"]
    await api.post(f"/orders/{order_id}/cancel", headers={"X-Correlation-ID": "second thoughts"})
    events = (await api.get(f"/orders/{order_id}/events")).json()["events"]
    assert events[0]["correlation_id"] == "checkout-9"
    assert events[1]["correlation_id"] not in ("", "second thoughts")
