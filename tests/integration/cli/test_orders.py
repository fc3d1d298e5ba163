"""``orderflow order``: what it prints, for people and for programs, and how it ends."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from operations.bulk.csv_files import read_baskets
from operations.bulk.placing import place_baskets
from orderflow.client import ApiClient, Unreachable
from support.api import CLOSED
from support.keys import KEY_TEXT, MERCHANT, command_id
from support.terminal import Shop, Terminal, served
from support.waiting import until

HEADER = "basket_id,household_id,placed_at,product_id,quantity,unit_price\n"
NOBODY = "http://127.0.0.1:9"
NO_ORDER = "00000000-0000-4000-8000-000000000000"
BREAD = ("--customer", "c-1", "--line", "bread:2:150")


async def placed(shop: Shop, *options: str) -> str:
    said = await shop.terminal.run("order", "place", *(options or BREAD), "--json")
    assert said.code == 0, said.err
    return str(json.loads(said.out)["id"])


async def shown(shop: Shop, order_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((await shop.terminal.run("order", "show", order_id, "--json")).out)
    return document


async def reach(shop: Shop, order_id: str, status: str) -> None:
    async with httpx.AsyncClient(base_url=shop.url, headers=MERCHANT) as client:

        async def there() -> bool:
            return bool((await client.get(f"/orders/{order_id}")).json()["status"] == status)

        await until(there)


async def test_an_order_goes_through_its_life(shop: Shop) -> None:
    run = shop.terminal.run
    order = await placed(shop, *BREAD, "--line", "milk:1:99", "--reference", "web-1", "--currency", "EUR")
    approved = await run("order", "approve", order)
    assert (approved.code, approved.out.startswith(f"{order} approved, now ")) == (0, True)
    await reach(shop, order, "FULFILLING")
    version = (await shown(shop, order))["version"]
    shipped = await run(
        *("order", "ship", order, "--carrier", "UPS", "--tracking-number", "1Z9", "--if-match", str(version)),
    )
    assert (shipped.code, shipped.out) == (0, f"{order} shipped, now SHIPPED\n")
    assert (await run("order", "complete", order)).out == f"{order} completed, now COMPLETED\n"

    page = (await run("order", "show", order, "--events")).out
    for text in ("COMPLETED", "3.99 EUR", "1.50 EUR", "3.00 EUR", "web-1", "ORDER_APPROVED", "tracking_number: 1Z9"):
        assert text in page
    document = await shown(shop, order)
    assert document["total"] == 399
    assert document["links"]["temporal_ui"] in page
    with_events = json.loads((await run("order", "show", order, "--events", "--json")).out)
    assert [event["status"] for event in with_events["events"]][-1] == "COMPLETED"


async def test_a_customer_cancels_with_a_note(shop: Shop) -> None:
    order = await placed(shop)
    said = await shop.terminal.run("order", "cancel", order, "--note", "ordered [bold]twice[/bold]")
    assert (said.code, said.out) == (0, f"{order} cancelled, now CANCELLED (customer)\n")
    assert "note: ordered [bold]twice[/bold]" in (await shop.terminal.run("order", "show", order, "--events")).out


async def test_the_same_key_again_is_already_there(shop: Shop) -> None:
    key = ("--key", f"k-{uuid4()}")
    first = await shop.terminal.run("order", "place", *BREAD, *key)
    again = await shop.terminal.run("order", "place", *BREAD, *key)
    assert (first.code, again.code) == (0, 0)
    assert first.out[:36] == again.out[:36]
    assert "already there" not in first.out
    assert "already there" in again.out
    other = await shop.terminal.run("order", "place", "--customer", "c-2", "--line", "bread:1:150", *key)
    assert other.code == 1
    assert "Idempotency conflict (422)" in other.err


async def test_a_refusal_is_printed_with_what_is_allowed(shop: Shop) -> None:
    order = await placed(shop)
    said = await shop.terminal.run("order", "ship", order)
    assert (said.code, said.out) == (1, "")
    assert "error: Illegal transition (409): Cannot ship" in said.err
    assert "allowed now: approve, cancel" in said.err
    as_json = await shop.terminal.run("order", "ship", order, "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["allowed_actions"] == ["approve", "cancel"]
    stale = await shop.terminal.run("order", "approve", order, "--if-match", "7")
    assert stale.code == 1
    assert "Version conflict (412)" in stale.err
    assert "present version: 1" in stale.err


async def test_broken_fields_are_named(shop: Shop) -> None:
    said = await shop.terminal.run("order", "place", "--customer", "c-1", "--line", "bread:0:150", "--currency", "usd")
    assert said.code == 1
    assert "lines[0].quantity: " in said.err
    assert "currency: " in said.err


async def test_an_order_that_is_not_there(shop: Shop) -> None:
    said = await shop.terminal.run("order", "show", str(uuid4()))
    assert (said.code, said.out) == (4, "")
    assert "No such order (404)" in said.err


async def test_a_ship_whose_capture_takes_longer_is_said(shop: Shop) -> None:
    order = await placed(shop)
    await shop.terminal.run("order", "approve", order)
    await reach(shop, order, "FULFILLING")
    gate = shop.world.gateway.hold("capture")
    said = await shop.terminal.run("order", "ship", order, "--wait", "0", "--key", "s-1")
    assert (said.code, said.out) == (0, f"{order} accepted, its payment is being captured\n")
    assert f"/orders/{order}/commands/{command_id('s-1')}" in said.err
    gate.set()
    said = await shop.terminal.run("order", "ship", order, "--wait", "20", "--key", "s-1")
    assert (said.code, said.out.endswith("now SHIPPED\n")) == (0, True)


async def test_the_next_change_can_be_waited_for(shop: Shop) -> None:
    order = await placed(shop)
    unchanged = await shop.terminal.run("order", "show", order, "--wait", "1", "--json")
    assert json.loads(unchanged.out)["status"] == "DRAFT"
    waiting = await shop.terminal.start("order", "show", order, "--wait", "60", "--json")
    async with httpx.AsyncClient(base_url=shop.url, headers=MERCHANT) as client:
        # It may begin to wait only now, or find the change when it comes.
        await client.post(f"/orders/{order}/cancel")
    out, _ = await asyncio.wait_for(waiting.communicate(), 30)
    assert json.loads(out)["status"] == "CANCELLED"
    ended = await shop.terminal.run("order", "show", order, "--wait", "60")
    assert (ended.code, "CANCELLED" in ended.out) == (0, True)


async def test_a_list_is_filtered_and_goes_on_where_a_page_ended(shop: Shop) -> None:
    customer = f"c-{uuid4()}"
    orders = [await placed(shop, "--customer", customer, "--line", "bread:1:150") for _ in range(3)]
    mine = ("order", "list", "--customer", customer)
    table = await shop.terminal.run(*mine)
    assert [order in table.out for order in orders] == [True] * 3
    first = json.loads((await shop.terminal.run(*mine, "--limit", "2", "--json")).out)
    rest = json.loads((await shop.terminal.run(*mine, "--cursor", first["next_cursor"], "--json")).out)
    assert [o["id"] for o in first["orders"] + rest["orders"]] == orders[::-1]
    assert rest["next_cursor"] is None
    everything = json.loads((await shop.terminal.run(*mine, "--all", "--status", "draft", "--json")).out)
    assert len(everything["orders"]) == 3
    nothing = await shop.terminal.run(*mine, "--status", "COMPLETED")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no such orders\n")
    assert (await shop.terminal.run("order", "list", "--status", "GONE")).code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("place",),
        ("place", "--customer", "c-1"),
        ("place", "--customer", "c-1", "--line", "bread"),
        ("place", "--customer", "c-1", "--line", "bread:1"),
        ("place", "--customer", "c-1", "--line", "bread:1:4.19"),
        ("place", "--file", "none.csv"),
        ("place", "--file", "none.csv", "--key", "k"),
        ("approve", "no-id"),
        ("ship", NO_ORDER, "--wait", "61"),
        ("show", NO_ORDER, "--wait", "61"),
        ("approve", NO_ORDER, "--wait", "1"),
        ("list", "--limit", "0"),
        ("list", "--api", "localhost:8080"),
        ("list", "--api", "http://"),
        ("paint",),
    ],
    ids=" ".join,
)
async def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = await Terminal(tmp_path, api_url=NOBODY).run("order", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("order", "list"),
        ("order", "show", NO_ORDER, "--json"),
        ("order", "place", *BREAD),
        ("stock", "show"),
        ("order", "place", "--file", "baskets.csv"),
    ],
    ids=" ".join,
)
async def test_an_api_that_is_not_there_ends_with_3(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "baskets.csv").write_text(f"{HEADER}b1,h1,t,bread,1,1.50\n")
    said = await Terminal(tmp_path).run(*arguments, "--api", NOBODY)
    assert said.code == 3
    assert f"nothing answers at {NOBODY}: is OrderFlow up" in said.err


async def test_a_file_is_placed_once_however_often_it_is_sent(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "baskets.csv"
    run_id = uuid4().hex[:8]
    rows = [f"{run_id}-{n},{run_id},t,{sku},2,1.50\n" for n in range(20) for sku in ("bread", "milk")]
    file.write_text(HEADER + "".join(rows))
    arguments = ("order", "place", "--file", str(file), "--concurrency", "8")
    first, again = await shop.terminal.run(*arguments), await shop.terminal.run(*arguments, "--json")
    assert (first.code, first.out) == (0, "20 baskets: 20 placed\n")
    told = json.loads(again.out)
    assert (again.code, told["placed"], told["already_there"]) == (0, 0, 20)
    found = json.loads((await shop.terminal.run("order", "list", "--customer", f"household-{run_id}", "--json")).out)
    assert {o["reference"] for o in found["orders"]} == {f"basket-{run_id}-{n}" for n in range(20)}
    assert {o["total"] for o in found["orders"]} == {600}
    assert {o["order_id"] for o in told["orders"]} == {o["id"] for o in found["orders"]}


async def test_a_refused_basket_does_not_keep_the_others(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "baskets.csv"
    run_id = uuid4().hex[:8]
    file.write_text(f"{HEADER}{run_id}-1,h1,t,bread,10000,1.50\n{run_id}-2,h1,t,bread,1,1.50\n")
    said = await shop.terminal.run("order", "place", "--file", str(file))
    assert (said.code, said.out) == (1, "2 baskets: 1 placed, 1 refused\n")
    assert f"basket {run_id}-1: Invalid request (422)" in said.err
    assert "lines[0].quantity" in said.err


async def test_a_file_goes_on_where_the_api_went_away(tmp_path: Path) -> None:
    file = tmp_path / "baskets.csv"
    file.write_text(HEADER + "".join(f"b{n},h1,t,bread,1,1.50\n" for n in range(10)))
    accepted: dict[str, str] = {}
    answers = 0

    def api(request: httpx.Request) -> httpx.Response:
        nonlocal answers
        answers += 1
        ours = {"X-Correlation-ID": "c-1"}
        if 4 < answers <= 6:
            problem = {"title": "Dependency unavailable", "detail": "orders does not answer."}
            return httpx.Response(503, json=problem, headers={**ours, "content-type": "application/problem+json"})
        key = request.headers["idempotency-key"]
        replayed = {"idempotent-replayed": "true"} if key in accepted else {}
        order_id = accepted.setdefault(key, str(uuid4()))
        return httpx.Response(201, json={"id": order_id, "status": "DRAFT"}, headers=ours | replayed)

    async def place(patience_seconds: float) -> dict[str, Any]:
        transport = httpx.MockTransport(api)
        async with ApiClient("http://api", patience_seconds=patience_seconds, transport=transport) as client:
            placing = await place_baskets(
                client,
                read_baskets(file, "USD"),
                currency="USD",
                payment_token="tok_ok",
                at_once=1,
                advance=lambda: None,
            )
        return placing.to_data()

    stopped = await place(0)
    assert (stopped["placed"], stopped["stopped"]) == (4, "orders does not answer.")
    answers = 4
    patient = await place(10)
    assert (patient["placed"], patient["already_there"], patient["stopped"]) == (6, 4, None)
    assert len(accepted) == 10


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(200, text="<html>"), httpx.Response(502, text="bad"), httpx.Response(200, json=[])],
    ids=["a page", "a gateway", "a list"],
)
async def test_what_is_not_orderflow_is_unreachable(answer: httpx.Response) -> None:
    async with ApiClient("http://api", transport=httpx.MockTransport(lambda _: answer)) as client:
        with pytest.raises(Unreachable, match="not OrderFlow's API"):
            await client.get("/orders")


async def test_503_ends_with_3_and_shows_the_problem(shop: Shop) -> None:
    nowhere = SecretStr(f"postgresql://orders@{CLOSED}/orders?sslmode=disable")
    settings = shop.world.settings.model_copy(update={"orders_api_database_url": nowhere})
    async with served(settings) as url:
        terminal = Terminal(shop.terminal.home, api_url=url, api_key=KEY_TEXT)
        said = await terminal.run("order", "show", str(uuid4()), "--json")
        sent = await terminal.run("order", "approve", NO_ORDER, "--key", "a-1")
    assert said.code == 3
    assert json.loads(said.out)["dependency"] == "orders"
    assert "error: Dependency unavailable (503)" in said.err
    assert "correlation id: " in said.err
    assert (sent.code, "orders does not answer" in sent.err) == (3, True)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
async def test_what_a_customer_wrote_is_shown_and_not_obeyed_in_every_encoding(
    shop: Shop, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an order from before such texts were refused."""
    body = {
        "customer_id": "[red]c\x9b31mEVIL\u202e \u6771\u4eac \u2192",
        "reference": "[/]\x9d8;;http://evil\x9c",
        "currency": "USD",
        "payment_token": "tok_ok",
        "lines": [{"sku": "bread", "quantity": 1, "unit_price": 99}],
    }
    with monkeypatch.context() as before:
        before.setattr("orderflow.domain.text._REFUSED", frozenset())
        async with httpx.AsyncClient(base_url=shop.url, headers=MERCHANT) as client:
            order = (await client.post("/orders", json=body)).json()["id"]
    terminal = Terminal(shop.terminal.home)
    terminal.env = {**shop.terminal.env, "PYTHONIOENCODING": encoding}
    for arguments in (("order", "show", order, "--events"), ("order", "list"), ("order", "show", order, "--json")):
        said = await terminal.run(*arguments)
        assert said.code == 0, said.err
        assert "[red]c" in said.out
        assert not any(raw in said.out for raw in ("\x9b", "\x9c", "\x9d", "\u202e"))
    assert json.loads(said.out)["customer_id"] == body["customer_id"]
