"""What the simulator counts: every call once, by what came of it, whatever it was broken by."""

from pathlib import Path
from uuid import UUID, uuid4

import httpx

from support.gateway import running_simulator
from support.scrapes import Scrape

SLOW_SECONDS = 0.3


async def call(
    client: httpx.AsyncClient, operation: str, token: str | None = None, reference: UUID | None = None
) -> UUID:
    reference = reference or uuid4()
    body = {"amount": 419, "currency": "USD", "payment_token": token} if token else None
    headers = {"Idempotency-Key": f"{reference}:{operation}"}
    await client.post(f"/v1/payments/{reference}/{operation}", json=body, headers=headers)
    return reference


async def test_calls_are_counted_by_what_came_of_them_and_how_long_they_took(tmp_path: Path) -> None:
    async with (
        running_simulator(tmp_path, slow_seconds=SLOW_SECONDS) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        paid = await call(client, "authorize", "tok_ok")
        await call(client, "authorize", "tok_ok", paid)
        await call(client, "authorize", "tok_declined")
        await call(client, "authorize", "tok_answer_lost_once")
        await call(client, "authorize", "tok_slow")
        await client.post(f"/v1/payments/{uuid4()}/authorize", json={})
        await call(client, "capture", reference=paid)
        (await client.put("/v1/faults", json={"down": True})).raise_for_status()
        await call(client, "void")

        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        scrape = Scrape.of(answer.text)
    calls = {
        (sample.labels["operation"], sample.labels["outcome"]): sample.value
        for sample in scrape.of_name("gateway_simulator_requests_total")
        if sample.value
    }
    assert calls == {
        ("authorize", "ok"): 2,
        ("authorize", "replayed"): 1,
        ("authorize", "refused"): 1,
        ("authorize", "lost"): 1,
        ("authorize", "invalid"): 1,
        ("capture", "ok"): 1,
        ("void", "failed"): 1,
    }
    seconds = "gateway_simulator_request_duration_seconds"
    assert scrape.total(f"{seconds}_count", operation="authorize") == 6
    assert SLOW_SECONDS <= scrape.total(f"{seconds}_sum", operation="authorize") < 10 * SLOW_SECONDS
    assert scrape.total("process_resident_memory_bytes") > 10_000_000
