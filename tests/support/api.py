"""The API in this process, lifespan and all, against real servers; and the requests that tests send."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from api.app import create_app
from orderflow import bootstrap
from orderflow.settings import Settings
from orderflow.temporal.client import connect
from support.keys import KEY_TEXT, MERCHANT
from support.stack import Databases
from support.tokens import with_keys
from support.waiting import until

#: Nobody listens here.
CLOSED = "127.0.0.1:9"


async def a_namespace(temporal_server: str) -> str:
    """A Temporal namespace of its own: workflows that a test leaves behind meet no other test's workers."""
    name = f"test-{uuid4().hex[:12]}"
    settings = Settings(temporal_address=temporal_server, temporal_namespace=name)
    client = await Client.connect(temporal_server)
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)

    async def known() -> bool:
        # Servers learn of a namespace a moment later.
        with contextlib.suppress(RPCError, bootstrap.SetupError):
            await bootstrap.setup_search_attributes(settings, lambda _: None)
            there = await connect(settings)
            with contextlib.suppress(StopAsyncIteration):
                await anext(there.list_workflows("OrderStatus = 'APPROVED'"))
            return True
        return False

    await until(known, seconds=30, every=0.05)
    return name


def api_settings(databases: Databases, temporal_address: str, namespace: str, **more: Any) -> Settings:
    """Settings of an API on these servers."""
    given: dict[str, Any] = {
        **databases.settings,
        "temporal_address": temporal_address,
        "temporal_namespace": namespace,
        "kafka_bootstrap_servers": CLOSED,
        "worker_graceful_shutdown_seconds": 1,
        "api_wait_seconds": 20,
        "api_key": KEY_TEXT,
        "api_hosts": "api,proxy",
    }
    return Settings(**with_keys(**(given | more)))


@contextlib.asynccontextmanager
async def an_api(settings: Settings | None = None, *, app: FastAPI | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API with these settings, or of ``app``."""
    app = app or create_app(settings)
    async with app.router.lifespan_context(app):
        # A route's bug must show as the 500 that a client would see.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://api", timeout=90, headers=MERCHANT
        ) as client:
            yield client


async def readiness(settings: Settings) -> httpx.Response:
    """What an API with these settings says on its private port."""
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{settings.health_port}/health/ready")


def order_body(*lines: tuple[str, int, int], **fields: Any) -> dict[str, Any]:
    """The body of POST /orders; two loaves of bread by default."""
    return {
        "customer_id": "household-515",
        "reference": "basket-1",
        "currency": "USD",
        "payment_token": "tok_ok",
        "lines": [{"sku": s, "quantity": q, "unit_price": p} for s, q, p in lines or (("bread", 2, 150),)],
        **fields,
    }


async def placed(api: httpx.AsyncClient, **fields: Any) -> str:
    """Place an order; its id."""
    answer = await api.post("/orders", json=order_body(**fields))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def reaches(api: httpx.AsyncClient, order_id: str, status: str, *, seconds: float = 30) -> dict[str, Any]:
    """Wait, by long poll, until the API shows ``status``; the order then. Raises TimeoutError."""
    seen: dict[str, str] = {}
    async with asyncio.timeout(seconds):
        while True:
            answer = await api.get(f"/orders/{order_id}", headers={"Prefer": "wait=5", **seen})
            if answer.status_code == 200:
                order: dict[str, Any] = answer.json()
                if order["status"] == status:
                    return order
                seen = {"If-None-Match": answer.headers["etag"]}


async def fulfilling(api: httpx.AsyncClient, **fields: Any) -> str:
    """An order that can be shipped; its id."""
    order_id = await placed(api, **fields)
    assert (await api.post(f"/orders/{order_id}/approve")).status_code == 200
    await reaches(api, order_id, "FULFILLING")
    return order_id
