"""What the simulator promises as a process: a durable ledger, decisions that stay, a clean end."""

import asyncio
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest

from support.gateway import SimulatorProcess, running_simulator
from support.paths import ROOT
from support.waiting import until

OK = "tok_ok"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    await process.start()
    yield process
    await process.kill()


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        yield client


async def post(
    client: httpx.AsyncClient, url: str, reference: UUID, operation: str, token: str | None = None
) -> httpx.Response:
    body = {"amount": 419, "currency": "USD", "payment_token": token} if token else None
    headers = {"Idempotency-Key": f"{reference}:{operation}"}
    return await client.post(f"{url}/v1/payments/{reference}/{operation}", json=body, headers=headers)


async def ledger(client: httpx.AsyncClient, url: str) -> dict[str, dict[str, Any]]:
    return {entry["reference"]: entry for entry in (await client.get(f"{url}/v1/ledger")).json()["payments"]}


async def test_what_was_answered_survives_kill_9(client: httpx.AsyncClient, simulator: SimulatorProcess) -> None:
    answered: dict[UUID, str] = {}

    async def keep_authorizing() -> None:
        while True:
            reference = uuid4()
            try:
                answer = await post(client, simulator.url, reference, "authorize", OK)
            except httpx.TransportError:
                return
            answered[reference] = answer.json()["authorization_id"]

    async def enough() -> bool:
        return len(answered) >= 100

    async with asyncio.timeout(30), asyncio.TaskGroup() as load:
        for _ in range(4):
            load.create_task(keep_authorizing())
        await until(enough)
        await simulator.kill()
    await simulator.start()

    entries = await ledger(client, simulator.url)
    assert {str(reference) for reference in answered} <= entries.keys()
    assert {entry["authorized_count"] for entry in entries.values()} == {1}
    for reference, authorization_id in list(answered.items())[-5:]:
        again = await post(client, simulator.url, reference, "authorize", OK)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json()["authorization_id"] == authorization_id


async def test_a_tombstone_survives_a_restart(client: httpx.AsyncClient, simulator: SimulatorProcess) -> None:
    reference = uuid4()
    await post(client, simulator.url, reference, "void")
    await simulator.kill()
    await simulator.start()
    late = await post(client, simulator.url, reference, "authorize", OK)
    assert late.json()["code"] == "reference_voided"


async def test_sigterm_ends_it_with_0_and_what_was_under_way_is_answered(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    process = SimulatorProcess(tmp_path, slow_seconds=0.5)
    await process.start()
    reference = uuid4()
    call = asyncio.create_task(post(client, process.url, reference, "authorize", "tok_slow"))

    async def held() -> bool:
        return str(reference) in await ledger(client, process.url)

    await until(held)
    assert await process.stop() == 0
    assert (await call).status_code == 200
    assert not process.ledger.with_name("gateway.db-wal").exists()


async def test_the_decline_rate_is_kept_and_a_decision_stays(client: httpx.AsyncClient, tmp_path: Path) -> None:
    namespace = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    references = [uuid5(namespace, str(n)) for n in range(200)]

    async def decisions(name: str, *, seed: int, token: str = OK) -> list[int]:
        async with running_simulator(tmp_path, name=name, decline_rate=0.1, seed=seed) as url:
            return [(await post(client, url, reference, "authorize", token)).status_code for reference in references]

    first = await decisions("first", seed=1)
    assert set(first) == {200, 402}
    assert 10 <= first.count(402) <= 35
    assert await decisions("same", seed=1) == first
    assert await decisions("other", seed=2) != first
    assert set(await decisions("not-ok", seed=1, token="tok_capture_refused")) == {200}


async def run(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderflow.gateways.simulator", *arguments), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    code, said = await run("--ledger", str(tmp_path / "missing" / "gateway.db"))
    assert (code, said.count("\n")) == (2, 1)
    assert "cannot open the ledger" in said

    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "format 99" in (await run("--ledger", str(newer)))[1]

    code, said = await run("--ledger", str(tmp_path / "x.db"), "--decline-rate", "1.5")
    assert code == 2
    assert "must be from 0 to 1" in said

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = await run("--ledger", str(tmp_path / "x.db"), "--port", str(taken.getsockname()[1]))
    assert code == 3
    assert "address already in use" in said
