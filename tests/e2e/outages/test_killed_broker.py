"""A stack whose broker lost records when it was killed."""

import asyncio
import json
from pathlib import Path

import pytest

from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack
from orderflow.store.statements import Statement
from support.doctor import examined, wrong
from support.explaining import opened
from support.paths import MIGRATIONS
from support.shop import Basket, Shop
from support.stream import assert_in_order, read_topic
from support.terminal import Terminal
from support.waiting import until

_PUBLISHED = Statement("test.published", "Counts what is on Kafka.", "SELECT count(*) AS events FROM publications")


async def place_and_approve(shop: Shop, basket: Basket) -> None:
    await shop.ask(await shop.place(basket), "approve")


@pytest.mark.timeout(240)
async def test_a_stack_whose_broker_was_killed_starts_and_is_mended_by_what_the_doctor_says(
    servers_folder: Path, tmp_path: Path, baskets: list[Basket]
) -> None:
    home = servers_folder / "killed-broker"
    settings = Settings(migrations_dir=MIGRATIONS, worker_graceful_shutdown_seconds=5)
    async with EmbeddedStack(settings, home, ports="free", durable=False) as stack:
        async with Shop(stack.settings) as shop:
            await shop.stock_up(baskets[:60])
            async with asyncio.TaskGroup() as tasks, opened(stack, "orders") as orders:
                for basket in baskets[:60]:
                    tasks.create_task(place_and_approve(shop, basket))

                async def some_are_published() -> bool:
                    row = await orders.one(_PUBLISHED, {})
                    return row is not None and row["events"] >= 30

                # In the middle of a burst: what the broker took in its last second is not on the disk.
                await until(some_are_published)
                await stack.processes["kafka"].kill(restart=False)
        await stack.processes["relay"].stop()
    terminal = Terminal(tmp_path, data_dir=str(home), migrations_dir=str(MIGRATIONS))
    async with EmbeddedStack(settings, home, ports="free", durable=False) as stack:
        code, checks = await examined(terminal)
        stopped = {about.split()[-1] for about in wrong(checks) if " partition " in about}
        assert stopped, "what was acknowledged in the last second is gone"
        assert code == 1
        one, *others = sorted(stopped)
        said = await terminal.run("outbox", "republish", "--partition", one)
        assert said.code == 0, said.err
        if others:
            said = await terminal.run("outbox", "republish", "--stopped")
            assert said.code == 0, said.err

        async def nothing_waits() -> bool:
            statuses = json.loads((await terminal.run("outbox", "status", "--json")).out)
            return not any(one["entries"] or one["stopped_partitions"] for one in statuses)

        await until(nothing_waits, seconds=60, every=0.3)
        seen = await read_topic(stack.settings.kafka_bootstrap_servers, stack.settings.kafka_topic)
        assert assert_in_order([one for one in seen if one.envelope.source == "/orderflow/orders"])
