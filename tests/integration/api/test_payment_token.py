"""A payment token can be opened by the payments role alone: through a whole life, nothing else has it in clear."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from orderflow.domain.commands import request_hash
from orderflow.security.keyring import ensure_keyring, key_ids, rotate_key
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.statements import Statement
from orderflow.temporal.client import connect
from support.api import an_api, order_body, placed, reaches
from support.stack import Databases
from support.world import Handle, World, a_world

CANARY = "tok_canary_5f0c2d9a71"
#: As it stands, and as it would stand in base64, at any offset.
SHAPES = [CANARY, *(base64.b64encode(b"." * n + CANARY.encode())[4:-4].decode() for n in range(3))]

_TABLES = Statement(
    "test.tables",
    "Reads which tables may be read.",
    "SELECT relname FROM pg_stat_user_tables WHERE has_table_privilege(relid, 'SELECT')",
)
_SEALED = Statement("test.sealed", "Reads the sealed tokens.", "SELECT sealed FROM payment_tokens")


@pytest_asyncio.fixture(params=["near", "far"])
async def world(request: pytest.FixtureRequest, settings: Settings, databases: Databases) -> AsyncIterator[World]:
    """Steps in the workflow's own task, or on their services' task queues."""
    steps: Literal["near", "far"] = request.param
    async with a_world(await connect(settings), databases, settings.model_copy(update={"steps": steps})) as world:
        await world.stock(bread=10)
        yield world


async def rows(*databases: Database) -> str:
    """Every row of every table that a service may read."""
    found = ""
    for database in databases:
        for table in await database.all(_TABLES, {}):
            name = table["relname"]
            read = Statement("test.rows", "Reads a table.", f"SELECT t::text AS row FROM {name} t")
            found += "".join(f"{name}: {row['row']}\n" for row in await database.all(read, {}))
    return found


async def in_temporal(workflow: Handle) -> str:
    """All that Temporal keeps of a run: its history, memo, search attributes, and what waits."""
    events = b"".join([event.SerializeToString() async for event in workflow.fetch_history_events()])
    described = (await workflow.describe()).raw_description.SerializeToString()
    return (events + described).decode(errors="replace")


def shows(text: str) -> list[str]:
    """In which shapes ``text`` has the token."""
    return [shape for shape in SHAPES if shape in text]


async def test_the_payment_token_is_nowhere_in_clear(world: World, settings: Settings) -> None:
    databases = world.orders, world.payments, world.inventory
    with capture_logs() as logged:
        async with an_api(settings) as api:
            order_id = await placed(api, payment_token=CANARY)
            assert len(await world.orders.all(_SEALED, {})) == 1
            assert shows(await rows(*databases)) == []

            # While it is used: the gateway has it, and nobody else.
            workflow = world.client.get_workflow_handle(f"order-{order_id}")
            gate = world.gateway.hold("authorize")
            await api.post(f"/orders/{order_id}/approve")
            await world.gateway_is_asked("authorize")
            assert len(await world.orders.all(_SEALED, {})) == 1
            assert shows(await rows(*databases)) == []
            assert shows(await in_temporal(workflow)) == []
            gate.set()

            await reaches(api, order_id, "FULFILLING")
            assert await world.orders.all(_SEALED, {}) == []
            for name in ("ship", "complete"):
                assert (await api.post(f"/orders/{order_id}/{name}")).status_code == 200
            await workflow.result()
    everything = await rows(*databases)
    assert order_id in everything
    assert shows(everything) == []
    kept = await in_temporal(workflow)
    assert order_id in kept
    assert shows(kept) == []
    assert logged
    assert shows(str(logged)) == []
    assert world.gateway.tokens == {CANARY}


@pytest.mark.parametrize("steps", ["cancel", "expire"])
async def test_a_draft_that_ends_keeps_no_token(world: World, api: httpx.AsyncClient, steps: str) -> None:
    order_id = await placed(api, payment_token=CANARY)
    if steps == "cancel":
        assert (await api.post(f"/orders/{order_id}/cancel")).status_code == 200
    else:
        assert await world.expire() == 1
    assert await world.orders.all(_SEALED, {}) == []


async def test_the_payment_token_is_in_no_answer(api: httpx.AsyncClient) -> None:
    keyed = {"Idempotency-Key": "k-1"}
    order = await api.post("/orders", json=order_body(payment_token=CANARY), headers=keyed)
    here = f"/orders/{order.json()['id']}"
    answers = [
        order,
        await api.post("/orders", json=order_body(payment_token=CANARY), headers=keyed),
        await api.post("/orders", json=order_body(payment_token=f"{CANARY}x"), headers=keyed),
        await api.post("/orders", json=order_body(payment_token=f"{CANARY} with a blank")),
        await api.post("/orders", json=order_body(payment_tokn=CANARY)),
        await api.post("/orders", json={CANARY: CANARY} | order_body(lines=[])),
        await api.post(f"{here}/cancel", json={"note": 7, "payment_token": CANARY}),
        await api.get(here),
        await api.get(f"{here}/events"),
        await api.get(f"{here}/commands/w:place"),
        await api.get("/orders"),
    ]
    assert {answer.status_code for answer in answers} == {200, 201, 422}
    # A field's name is repeated: it is how the client finds its mistake.
    named = answers.pop(5)
    assert CANARY in named.text
    assert [answer.request.url for answer in answers if shows(answer.text)] == []


_PLACED = Statement("test.placed", "Reads a place's hash.", "SELECT request_hash FROM commands WHERE name = 'place'")


async def test_the_record_of_a_place_lets_nobody_try_tokens(world: World, settings: Settings, tmp_path: Path) -> None:
    """Its hash is made with a key, which it names; so the same request is known again after rotations, and before."""
    keyed = {"Idempotency-Key": "k-1"}
    body = order_body(payment_token=CANARY)
    ring = tmp_path / "ring"
    ensure_keyring(ring)
    [old] = key_ids(ring)
    own = settings.model_copy(update={"payload_keyring_file": ring})
    async with an_api(own) as api:
        assert (await api.post("/orders", json=body, headers=keyed)).status_code == 201
    [row] = await world.orders.all(_PLACED, {})
    assert row["request_hash"].startswith(f"{old}:")
    assert request_hash("place", body) not in row["request_hash"]

    rotate_key(ring)
    async with an_api(own) as api:
        again = await api.post("/orders", json=body, headers=keyed)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
        other = await api.post("/orders", json=order_body(payment_token=f"{CANARY}x"), headers=keyed)
        assert (other.status_code, other.json()["type"]) == (422, "urn:orderflow:problems/idempotency_conflict")


async def test_a_place_from_before_the_keyring_is_known_again(world: World, settings: Settings) -> None:
    keyed = {"Idempotency-Key": "k-1"}
    body = order_body(payment_token=CANARY)
    async with an_api(settings.model_copy(update={"payload_keyring_file": None})) as api:
        assert (await api.post("/orders", json=body, headers=keyed)).status_code == 201
    async with an_api(settings) as api:
        again = await api.post("/orders", json=body, headers=keyed)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
