"""The same key and body: one effect, one outcome."""

import asyncio

import httpx
import pytest

from support.api import order_body, placed, reaches
from support.keys import command_id
from support.world import World

KEY = {"Idempotency-Key": "checkout-1"}


async def test_the_same_order_again_is_the_same_order(api: httpx.AsyncClient) -> None:
    first = await api.post("/orders", json=order_body(), headers=KEY)
    again = await api.post("/orders", json=order_body(), headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers


async def test_the_same_body_written_otherwise_is_the_same_request(api: httpx.AsyncClient) -> None:
    first = await api.post("/orders", json=order_body(), headers=KEY)
    shuffled = dict(reversed(order_body().items()))
    again = await api.post("/orders", json=shuffled, headers=KEY)
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.parametrize("fields", [{"reference": "other"}, {"payment_token": "tok_other"}], ids=["body", "token"])
async def test_the_same_key_with_another_order_is_refused(api: httpx.AsyncClient, fields: dict[str, str]) -> None:
    await api.post("/orders", json=order_body(), headers=KEY)
    other = await api.post("/orders", json=order_body(**fields), headers=KEY)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:orderflow:problems/idempotency_conflict"
    assert "tok_" not in other.text


async def test_many_at_once_with_one_key_make_one_order(api: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(api.post("/orders", json=order_body(), headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len((await api.get("/orders")).json()["orders"]) == 1


async def test_two_orders_at_once_with_one_key_are_one_order_and_one_refusal(api: httpx.AsyncClient) -> None:
    bodies = [order_body(reference="a"), order_body(reference="b")]
    answers = await asyncio.gather(*(api.post("/orders", json=body, headers=KEY) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 422]


async def test_a_command_again_gives_what_it_made_then(api: httpx.AsyncClient) -> None:
    here = f"/orders/{(await api.post('/orders', json=order_body())).json()['id']}"
    first = await api.post(f"{here}/cancel", json={"note": "no"}, headers=KEY)
    again = await api.post(f"{here}/cancel", json={"note": "no"}, headers=KEY)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["command"] == again.json()["command"]
    assert again.headers["idempotent-replayed"] == "true"
    other = await api.post(f"{here}/cancel", json={"note": "another"}, headers=KEY)
    assert (other.status_code, other.json()["type"]) == (422, "urn:orderflow:problems/idempotency_conflict")
    command = await api.post(f"{here}/approve", headers=KEY)
    assert (command.status_code, command.json()["type"]) == (422, "urn:orderflow:problems/idempotency_conflict")


async def test_no_body_and_an_empty_one_are_the_same_request(api: httpx.AsyncClient) -> None:
    here = f"/orders/{(await api.post('/orders', json=order_body())).json()['id']}"
    assert (await api.post(f"{here}/approve", headers=KEY)).status_code == 200
    again = await api.post(f"{here}/approve", json={}, headers=KEY)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_a_409_that_was_not_recorded_may_be_sent_again_with_the_same_key(api: httpx.AsyncClient) -> None:
    here = f"/orders/{(await api.post('/orders', json=order_body())).json()['id']}"
    assert (await api.post(f"{here}/complete", headers=KEY)).status_code == 409
    await api.post(f"{here}/cancel")
    again = await api.post(f"{here}/complete", headers=KEY)
    assert (again.status_code, again.json()["current_status"]) == (409, "CANCELLED")
    assert "idempotent-replayed" not in again.headers


async def test_after_the_order_has_closed_the_outcome_is_still_known(world: World, api: httpx.AsyncClient) -> None:
    order = await api.post("/orders", json=order_body(), headers=KEY)
    order_id = order.json()["id"]
    here = f"/orders/{order_id}"
    said = {"approve": {}, "ship": {"carrier": "UPS"}, "complete": {}}
    first = {}
    for name, body in said.items():
        first[name] = await api.post(f"{here}/{name}", json=body, headers={"Idempotency-Key": name})
        assert first[name].status_code == 200, first[name].text
        if name == "approve":
            await reaches(api, order_id, "FULFILLING")
    await world.client.get_workflow_handle(f"order-{order_id}").result()

    again = await api.post("/orders", json=order_body(), headers=KEY)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json()["command"] == order.json()["command"]
    assert again.json()["status"] == "COMPLETED"
    for name, body in said.items():
        again = await api.post(f"{here}/{name}", json=body, headers={"Idempotency-Key": name})
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert again.json()["command"] == first[name].json()["command"]
    other = await api.post(f"{here}/ship", json={"carrier": "DHL"}, headers={"Idempotency-Key": "ship"})
    assert other.status_code == 422
    assert (await api.post(f"{here}/approve")).status_code == 409
    assert (await api.get(here)).json()["version"] == 5


async def test_a_replay_is_not_judged_by_if_match(api: httpx.AsyncClient) -> None:
    """The version that the client saw was right when the command was carried out: it has moved since."""
    here = f"/orders/{await placed(api)}"
    headers = {**KEY, "If-Match": '"1"'}
    first = await api.post(f"{here}/approve", headers=headers)
    again = await api.post(f"{here}/approve", headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.headers["idempotent-replayed"], again.json()["command"]["version"]) == ("true", 2)
    assert (await api.post(f"{here}/cancel", headers={"If-Match": '"1"'})).status_code == 412


async def test_the_same_approve_fifty_times_at_once_happens_once(api: httpx.AsyncClient) -> None:
    here = f"/orders/{await placed(api)}"
    answers = await asyncio.gather(*(api.post(f"{here}/approve", headers=KEY) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert {answer.json()["command"]["version"] for answer in answers} == {2}
    assert len((await api.get(f"{here}/events")).json()["events"]) == 2


async def test_concurrent_cancels_with_different_keys_make_one_cancellation(api: httpx.AsyncClient) -> None:
    here = f"/orders/{(await api.post('/orders', json=order_body())).json()['id']}"
    answers = await asyncio.gather(*(api.post(f"{here}/cancel") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert (await api.get(here)).json()["version"] == 2


@pytest.mark.parametrize(("first", "again"), [("quoted-1", '"quoted-1"'), ('"quoted-1"', "quoted-1")])
async def test_a_key_in_quotes_is_the_same_key(api: httpx.AsyncClient, first: str, again: str) -> None:
    placed = [
        await api.post("/orders", json=order_body(), headers={"Idempotency-Key": sent}) for sent in (first, again)
    ]
    assert [answer.status_code for answer in placed] == [201, 201]
    assert placed[0].json()["id"] == placed[1].json()["id"]
    here = f"/orders/{placed[0].json()['id']}"
    for path, body in ((f"{here}/approve", {}), ("/inventory/quoted", {"on_hand": 1})):
        method = "PUT" if body else "POST"
        answers = [await api.request(method, path, json=body, headers={"Idempotency-Key": k}) for k in (first, again)]
        assert answers[1].headers["idempotent-replayed"] == "true"
    # The command is known by the bare key.
    command = (await api.get(f"{here}/commands/{command_id('quoted-1')}")).json()
    assert (command["name"], command["state"]) == ("approve", "done")
