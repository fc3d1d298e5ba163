"""The API as a process of its own: what it needs to start, and what it answers when it is told to stop."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from support.api import fulfilling, placed
from support.keys import MERCHANT, command_id
from support.stack import Databases
from support.terminal import Terminal
from support.waiting import until
from support.world import World


@asynccontextmanager
async def a_process(
    settings: Settings, home: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """``orderflow api`` with these settings, and a client of it. It is ended where the test has not."""
    port = free_port()
    given: dict[str, Any] = settings.model_dump(
        include={
            *("temporal_address", "temporal_namespace", "kafka_bootstrap_servers"),
            *("token_public_key_file", "api_wait_seconds"),
        }
    )
    urls = {
        name: getattr(settings, name).get_secret_value()
        for name in ("orders_api_database_url", "inventory_api_database_url")
    }
    terminal = Terminal(home, **{name: str(value) for name, value in {**given, **urls, "api_port": port}.items()})
    process = await terminal.start("api")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=90, headers=MERCHANT) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx.TransportError:
                return False

        try:
            await until(ready, seconds=60, every=0.1)
            yield process, client
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def stops(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM, and wait for the end."""
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.wait(), 30)


async def test_a_ship_that_waits_is_202_when_the_process_is_told_to_stop(
    world: World, api: httpx.AsyncClient, settings: Settings, tmp_path: Path
) -> None:
    order_id = await fulfilling(api)
    gate = world.gateway.hold("capture")
    async with a_process(settings, tmp_path) as (process, client):
        headers = {"Prefer": "wait=60", "Idempotency-Key": "ship-1"}
        shipping = asyncio.create_task(client.post(f"/orders/{order_id}/ship", headers=headers))
        await world.gateway_is_asked("capture")
        await stops(process)
        shipped = await shipping
    assert shipped.status_code == 202, shipped.text
    assert shipped.headers["connection"] == "close"
    assert shipped.json()["command"]["state"] == "pending"
    assert shipped.headers["location"] == f"/orders/{order_id}/commands/{command_id('ship-1')}"
    gate.set()
    again = await api.post(f"/orders/{order_id}/ship", headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_a_read_that_waits_is_answered_and_what_is_told_is_told_to_the_end(
    world: World, settings: Settings, tmp_path: Path
) -> None:
    async with a_process(settings, tmp_path) as (process, client):
        waits_for = await placed(client)
        headers = {"Prefer": "wait=60", "If-None-Match": '"1"'}
        polling = [asyncio.create_task(client.get(f"/orders/{waits_for}", headers=headers)) for _ in range(20)]
        order_id = await placed(client)
        assert (await client.post(f"/orders/{order_id}/approve")).status_code == 200
        await stops(process)
        answers = await asyncio.gather(*polling, return_exceptions=True)
    # A connection on which nothing has arrived yet when the process stops is closed: the client asks elsewhere.
    assert {getattr(answer, "status_code", 304) for answer in answers} == {304}
    answered = [answer for answer in answers if isinstance(answer, httpx.Response)]
    assert {answer.headers.get("connection") for answer in answered} <= {"close"}
    assert (await world.handovers.depth()).pending == 0


async def test_what_has_no_answer_when_the_time_to_stop_is_over_is_503(settings: Settings, tmp_path: Path) -> None:
    """Clients that send a body slowly: of what they ask for nothing is known, and that is said as a problem."""
    async with a_process(settings, tmp_path) as (process, client):
        here = f"/orders/{await placed(client)}"
        asked = [("POST", "/orders"), ("POST", f"{here}/approve"), ("PUT", "/inventory/a")]
        slow = [await _begun(client.base_url, method, path) for method, path in asked]
        await stops(process)
        answers = [await asyncio.wait_for(reader.read(), 10) for reader, _ in slow]
        for _, writer in slow:
            writer.close()
    for answer, (_, path) in zip(answers, asked, strict=True):
        head, _, content = answer.decode().partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 503 "), answer
        assert {"content-type: application/problem+json", "retry-after: 1", "connection: close"} <= set(
            head.lower().split("\r\n")
        )
        problem = json.loads(content)
        assert (problem["instance"], problem["dependency"]) == (path, "api")
        assert "Idempotency-Key" in problem["detail"]


async def test_a_command_that_waits_for_its_row_is_answered_although_the_process_stops(
    api: httpx.AsyncClient, databases: Databases, settings: Settings, tmp_path: Path
) -> None:
    order_id = await placed(api)
    headers = {"Idempotency-Key": "approve-1"}
    connection = await asyncpg.connect(databases.as_admin("orders"))  # who sees what others wait for
    async with a_process(settings, tmp_path) as (process, client):
        async with connection.transaction():
            await connection.fetch("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", UUID(order_id))
            approving = asyncio.create_task(client.post(f"/orders/{order_id}/approve", headers=headers))
            await until(lambda: _somebody_waits_for_a_lock(connection))
            await stops(process)
        answer = await approving
    await connection.close()
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "approve-1" in answer.json()["detail"]
    assert (await api.post(f"/orders/{order_id}/approve", headers=headers)).status_code == 200


async def _begun(url: httpx.URL, method: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose body the API waits for."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        f"Authorization: {MERCHANT['Authorization']}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"on')
    return reader, writer


async def _somebody_waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await connection.fetchval(waiting))


@pytest.mark.parametrize("content", [None, "no key"], ids=["missing", "no key"])
async def test_without_the_public_key_it_says_so_and_ends(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "public.pem"
    if content is not None:
        file.write_text(content)
    said = await Terminal(tmp_path, token_public_key_file=str(file)).run("api")
    assert said.code == 1
    assert "payment tokens cannot be sealed" in said.err
    assert str(file) in said.err.replace("\n", "")
