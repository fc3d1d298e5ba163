"""The whole stack seals what lies in Temporal; who has the keyring reads it all the same."""

import base64
import json
from typing import Any

import httpx
from google.protobuf.json_format import MessageToDict
from temporalio.client import Client

from orderflow.security.keyring import key_ids
from orderflow.stack.stack import EmbeddedStack
from support.canaries import shapes
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until

TOKEN = "tok_canary_7b1e44"


def _database(stack: EmbeddedStack) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(stack.data_dir.glob("temporal.db*")))


async def _history(stack: EmbeddedStack, order_id: str) -> list[dict[str, Any]]:
    """As somebody reads it who has no key."""
    client = await Client.connect(stack.settings.temporal_address)
    history = await client.get_workflow_handle(f"order-{order_id}").fetch_history()
    return [MessageToDict(event) for event in history.events]


def _payloads(found: Any) -> list[dict[str, Any]]:
    if isinstance(found, list):
        return [payload for one in found for payload in _payloads(one)]
    if not isinstance(found, dict):
        return []
    if isinstance(found.get("metadata"), dict) and "encoding" in found["metadata"]:
        return [found]
    return [payload for one in found.values() for payload in _payloads(one)]


def _of(encoding: bytes, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if base64.b64decode(one["metadata"]["encoding"]) == encoding]


async def test_temporal_holds_nothing_that_it_could_read(
    stack: EmbeddedStack, shop: Shop, baskets: list[Basket], terminal: Terminal
) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0], token=TOKEN)
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "CANCELLED")  # the simulator declines what it does not know
    other = await shop.place(baskets[0])
    await shop.ask(other, "approve")
    await shop.reaches(other, "FULFILLING")
    await shop.ask(other, "ship", carrier="UPS-canary")

    # What is there in clear is what Temporal itself must read, and what the SDK's core writes of its local activities.
    for known in (order_id, other):
        plain = _of(b"json/plain", _payloads(await _history(stack, known)))
        words = {base64.b64decode(one["data"]).decode() for one in plain}
        statuses = {word for word in words if word.startswith('"')}
        assert statuses <= {'"APPROVED"', '"FULFILLING"', '"SHIPPED"', '"CANCELLED"'}
        assert all("activity_type" in json.loads(word) for word in words - statuses)
        assert _of(b"binary/encrypted", _payloads(await _history(stack, known)))

    database = _database(stack)
    assert order_id.encode() in database  # it is the right file
    sku = baskets[0][0][0]
    for canary in (TOKEN, "household", "UPS-canary", "sealed_token", f'"sku":"{sku}"', "authorize payment"):
        assert [shape for shape in shapes(canary) if shape in database] == [], canary

    # People who have the keyring read all of it.
    explained = await terminal.run("order", "explain", order_id)
    assert "payment_declined" in explained.out
    assert "cannot be read" not in explained.out
    assert (await terminal.run("replay", order_id)).code == 0


async def test_who_lacks_the_key_is_told_which(
    stack: EmbeddedStack, shop: Shop, baskets: list[Basket], terminal: Terminal
) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0])
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "FULFILLING")
    assert stack.settings.payload_keyring_file is not None
    key_id = key_ids(stack.settings.payload_keyring_file)[0]
    other = terminal.home / "other-ring"
    terminal.env["ORDERFLOW_PAYLOAD_KEYRING_FILE"] = str(other)
    assert (await terminal.run("payload-keys", "create")).code == 0
    for command in (("order", "explain", order_id), ("replay", order_id)):
        said = await terminal.run(*command)
        assert f"sealed with key {key_id}, which this keyring lacks" in " ".join(said.out.split())


async def test_the_web_ui_asks_the_codec_server(stack: EmbeddedStack, shop: Shop, baskets: list[Basket]) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0], token=TOKEN)
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "CANCELLED")
    ui = stack.settings.temporal_ui_url
    async with httpx.AsyncClient(timeout=10) as client:
        endpoint = (await client.get(f"{ui}/api/v1/settings")).json()["Codec"]["Endpoint"]
        assert endpoint == f"http://127.0.0.1:{stack.settings.codec_port}"
        sealed = _of(b"binary/encrypted", _payloads(await _history(stack, order_id)))
        answer = await client.post(f"{endpoint}/decode", json={"payloads": sealed}, headers={"Origin": ui})
        assert answer.headers["access-control-allow-origin"] == ui
        read = [base64.b64decode(one["data"]).decode() for one in answer.json()["payloads"]]
        assert any('"state":"refused"' in one for one in read)
        assert not any(TOKEN in one for one in read)
        refused = await client.post(f"{endpoint}/decode", json={"payloads": []}, headers={"Origin": "http://evil.test"})
        assert refused.status_code == 403

    async def logged() -> bool:
        return "payloads_decoded" in (stack.data_dir / "logs" / "codec.log").read_text()

    await until(logged, seconds=10)
