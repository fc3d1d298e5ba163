"""`orderflow order nudge` and `orderflow order reset`: what they do, what they record, what they refuse."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from cli.explain.gather import open_sources
from orderflow.settings import Settings
from orderflow.temporal import connect
from support.api import a_namespace, api_settings
from support.stack import Databases, PostgresServer
from support.terminal import Shop, Terminal, served
from support.waiting import until
from support.world import a_world

NO_ORDER = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(scope="module")
async def operated(
    postgres: PostgresServer, temporal_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Shop, Settings]]:
    """A shop, and a terminal that reaches its stores and not only its API."""
    databases: Databases = await postgres.fresh_databases()
    settings = api_settings(databases, temporal_server, await a_namespace(temporal_server))
    async with a_world(await connect(settings), databases, settings) as world, served(settings) as url:
        await world.stock(bread=1000)
        reached = {
            "api_url": url,
            "temporal_address": settings.temporal_address,
            "temporal_namespace": settings.temporal_namespace,
            "orders_database_url": settings.orders_database_url.get_secret_value(),
        }
        yield Shop(Terminal(tmp_path_factory.mktemp("home"), **reached), url, world), settings
    await postgres.drop(databases)


async def placed(shop: Shop) -> str:
    said = await shop.terminal.run("order", "place", "--customer", "c-1", "--line", "bread:1:150", "--json")
    return str(json.loads(said.out)["id"])


async def test_a_nudge_is_recorded_and_leaves_the_order_as_it_is(operated: tuple[Shop, Settings]) -> None:
    shop, settings = operated
    order_id = await placed(shop)
    said = await shop.terminal.run("order", "nudge", order_id, "--reason", "it  looks\nasleep", "--json")
    assert said.code == 0, said.err
    record = json.loads(said.out)["recorded_as"]
    assert record.startswith("r:nudge:")

    async def told() -> bool:
        async with open_sources(settings) as sources:
            lines = [line.what for line in (await sources.gather(UUID(order_id))).lines]
        by = any(f"nudge by an operator ({record}): it looks asleep (by " in line for line in lines)
        return by and any(line.startswith("complete refused (c:operator.") for line in lines)

    await until(told)
    shown = json.loads((await shop.terminal.run("order", "show", order_id, "--json")).out)
    assert (shown["status"], shown["version"]) == ("DRAFT", 1)


async def test_a_reset_runs_a_terminated_workflow_again(operated: tuple[Shop, Settings]) -> None:
    shop, settings = operated
    order_id = await placed(shop)
    assert (await shop.terminal.run("order", "reset", order_id, "--reason", "no need")).code == 1
    client = await connect(settings)
    await client.get_workflow_handle(f"order-{order_id}").terminate(reason="by mistake")
    assert (await shop.terminal.run("order", "nudge", order_id, "--reason", "nobody there")).code == 1
    said = await shop.terminal.run("order", "reset", order_id, "--reason", "terminated by mistake")
    assert said.code == 0, said.err
    assert "runs again, recorded as r:reset:" in said.out
    approved = await shop.terminal.run("order", "approve", order_id)
    assert approved.code == 0, approved.err


@pytest.mark.parametrize("name", ["nudge", "reset"])
async def test_what_is_not_possible(operated: tuple[Shop, Settings], name: str, tmp_path: Path) -> None:
    shop, _ = operated
    said = await shop.terminal.run("order", name, NO_ORDER, "--reason", "x")
    assert said.code == 1
    assert NO_ORDER in said.err
    for arguments in ((), ("--reason", " "), ("--reason", "x" * 501)):
        assert (await shop.terminal.run("order", name, NO_ORDER, *arguments)).code == 2
    away = Terminal(tmp_path, temporal_address="127.0.0.1:9")
    assert (await away.run("order", name, NO_ORDER, "--reason", "x")).code == 3
