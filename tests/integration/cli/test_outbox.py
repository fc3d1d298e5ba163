"""``orderflow outbox``, ``dlq`` and ``lag`` on real servers: what they print, for people and for programs."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.settings import Settings
from orderflow.stream.topic import ensure_topic
from orderflow.telemetry.health import Health
from support.doctor import examined
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.stream import CREATED, assert_in_order, insert_event, let_events_stand_alone, read_topic
from support.terminal import Said, Terminal
from support.waiting import until
from workers.shared import Shared
from workers.tracking import serve

_NO_EVENT = """
    INSERT INTO dead_letters (
        consumer_group, kind, reason, attempts, first_failed_at, last_failed_at, record_topic, record_partition,
        record_offset, record_timestamp, record_value, header_names, header_values
    ) VALUES ($1, 'undecodable', 'no JSON', 1, now(), now(), 't', 0, 99, 0, 'hello', '{}', '{}')"""
NOWHERE = "postgresql://orders@127.0.0.1:9/orders"


@dataclass
class Desk:
    """An operator's terminal, and what it looks at."""

    settings: Settings
    databases: Databases
    orders: "asyncpg.Connection[Any]"
    home: Path

    def terminal(self, **changes: str) -> Terminal:
        given = {
            **self.databases.settings,
            "kafka_bootstrap_servers": self.settings.kafka_bootstrap_servers,
            "kafka_topic": self.settings.kafka_topic,
            "tracking_group": self.settings.tracking_group,
        }
        return Terminal(self.home, **(given | changes))

    async def run(self, *arguments: str) -> Said:
        return await self.terminal().run(*arguments)

    async def outbox_empty(self) -> None:
        async def empty() -> bool:
            return not await self.orders.fetchval("SELECT count(*) FROM outbox")

        await until(empty, seconds=30)

    async def versions_on_topic(self, order: UUID) -> list[int]:
        seen = await read_topic(self.settings.kafka_bootstrap_servers, self.settings.kafka_topic)
        return [one.envelope.version for one in seen if one.envelope.order_id == order]


@pytest_asyncio.fixture
async def desk(databases: Databases, broker: str, tmp_path: Path) -> AsyncIterator[Desk]:
    settings = settings_for(databases, broker, tracking_group=f"tracking-{uuid4().hex[:8]}")
    await ensure_topic(settings)
    owner = await asyncpg.connect(databases.as_admin("orders"))
    await let_events_stand_alone(owner)
    await owner.close()
    connection = await asyncpg.connect(databases.orders)
    yield Desk(settings, databases, connection, tmp_path)
    await connection.close()


async def test_an_empty_outbox_that_nobody_publishes(desk: Desk) -> None:
    said = await desk.run("outbox", "status")
    assert said.code == 0
    assert "nobody" in said.out
    assert "orders: no relay publishes: start one" in said.out
    [orders, *_] = json.loads((await desk.run("outbox", "status", "--json")).out)
    assert orders == {
        "service": "orders",
        "entries": 0,
        "oldest_age_seconds": 0.0,
        "leader": None,
        "parked_orders": [],
        "stopped_partitions": [],
    }


async def test_what_could_go_out_and_does_not_needs_somebody(desk: Desk) -> None:
    await insert_event(desk.orders, uuid4(), 1)
    said = await desk.run("outbox", "status")
    assert (said.code, "orders: no relay publishes: start one" in said.out) == (1, True)
    owner = await asyncpg.connect(desk.databases.as_admin("orders"))
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE events SET recorded_at = recorded_at - interval '5 minutes'")
    await owner.execute("INSERT INTO relay_lease VALUES ('relay', 'of-a-test', clock_timestamp() + interval '9 s', 9)")
    await owner.close()
    said = await desk.run("outbox", "status")
    assert said.code == 1
    assert "orders: an event that could go out has waited for 5 min" in said.out


async def test_a_parked_order_is_shown_and_unparked(desk: Desk) -> None:
    order = uuid4()
    await insert_event(desk.orders, order, 1)
    await desk.orders.execute("INSERT INTO parked_orders VALUES ($1, 1, 'larger than max.message.bytes')", order)
    said = await desk.run("outbox", "status")
    assert said.code == 1
    assert f"order {order} is parked at version 1" in said.out
    assert f"`orderflow outbox unpark {order}`" in said.out
    [orders, *_] = json.loads((await desk.run("outbox", "status", "--json")).out)
    assert (orders["parked_orders"][0]["order_id"], orders["parked_orders"][0]["entries"]) == (str(order), 1)
    unparked = await desk.run("outbox", "unpark", str(order))
    assert (unparked.code, "unparked in orders" in unparked.out) == (0, True)
    again = await desk.run("outbox", "unpark", str(order))
    assert (again.code, again.out, again.err) == (1, "", f"{order} is not parked\n")


async def test_parked_orders_are_unparked_by_their_cause_or_all_at_once(desk: Desk) -> None:
    large, early, other = [uuid4() for _ in range(6)], uuid4(), uuid4()
    for order in (*large, early, other):
        await insert_event(desk.orders, order, 1)
    park = "INSERT INTO parked_orders VALUES ($1, 1, $2)"
    await desk.orders.executemany(park, [(order, "[Error 10] MessageSizeTooLargeError: 50%") for order in large])
    await desk.orders.executemany(park, [(order, "[Error 32] InvalidTimestampError") for order in (early, other)])
    said = await desk.run("outbox", "status")
    assert said.code == 1
    assert "no more are parked" in said.out
    assert "`orderflow outbox unpark --all`" in said.out
    _, found = await examined(desk.terminal())
    assert "Kafka refuses records of many orders: 8 are parked" in found["orders parking"]["detail"]
    assert "`orderflow outbox unpark --all`" in found["orders parking"]["fix"]

    for arguments in ((), ("--all", str(other)), ("--all", "--cause", "x"), ("--cause", " ")):
        assert (await desk.run("outbox", "unpark", *arguments)).code == 2
    none = await desk.run("outbox", "unpark", "--cause", "_")
    assert (none.code, none.err) == (1, "no such order is parked\n")
    unparked = await desk.run("outbox", "unpark", "--cause", "toolarge")
    assert (unparked.code, unparked.out) == (0, "orders: 6 orders unparked; sent from where they stopped\n")
    rest = json.loads((await desk.run("outbox", "unpark", "--all", "--json")).out)
    assert rest == {"unparked": {"orders": sorted([str(early), str(other)]), "payments": [], "inventory": []}}
    again = await desk.run("outbox", "unpark", "--all", "--json")
    assert (again.code, json.loads(again.out)["unparked"]["orders"]) == (1, [])
    assert await desk.orders.fetchval("SELECT count(*) FROM parked_orders") == 0


async def test_a_database_that_is_away_ends_with_3_and_the_others_are_shown(desk: Desk) -> None:
    terminal = desk.terminal(**{f"orders_{role}_database_url": NOWHERE for role in ("reader", "relay", "tracking")})
    said = await terminal.run("outbox", "status", "--json")
    assert said.code == 3
    orders, payments, _ = json.loads(said.out)
    assert "does not answer" in orders["error"]
    assert payments["entries"] == 0
    for arguments in (("outbox", "status"), ("outbox", "republish", "--since", "1h"), ("dlq", "list")):
        said = await terminal.run(*arguments)
        assert said.code == 3
        assert "does not answer" in said.err
    for typed in (("lag",), ("outbox", "republish", "--partition", "1")):
        said = await desk.terminal(kafka_bootstrap_servers="127.0.0.1:9").run(*typed)
        assert said.code == 3
        assert "Kafka does not answer" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("outbox", "republish"),
        ("outbox", "republish", "--stopped", "--since", "1h"),
        ("outbox", "republish", "--since", "yesterday"),
        ("outbox", "republish", "--partition", "12"),
        ("outbox", "republish", "--order", "no-id"),
        ("outbox", "unpark"),
        ("dlq", "redrive", "--group", "billing"),
        ("dlq", "redrive", "--group", "billing", "--effect", "no.module:name"),
        ("dlq", "show", "one"),
        ("dlq", "discard", "7"),
        ("dlq", "discard", "7", "--json"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = await Terminal(tmp_path).run(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err


async def test_an_order_is_sent_again_with_the_same_ids_and_more_than_a_thousand_events_ask(desk: Desk) -> None:
    order, other = uuid4(), uuid4()
    async with running_relay(desk.settings):
        for version in (1, 2, 3):
            await insert_event(desk.orders, order, version)
        await insert_event(desk.orders, other, 1)
        await desk.outbox_empty()
    said = await desk.run("outbox", "republish", "--order", str(order))
    assert (said.code, said.out.splitlines()[0]) == (0, "orders: 3 events of 1 order to be sent again")
    again = json.loads((await desk.run("outbox", "republish", "--order", str(order), "--json")).out)
    assert again["republished"] == 0, "they are pending already"
    async with running_relay(desk.settings):
        await desk.outbox_empty()
        assert await desk.versions_on_topic(order) == [1, 2, 3, 1, 2, 3]
        assert await desk.versions_on_topic(other) == [1]
        await desk.orders.execute(
            """INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id)
               SELECT gen_random_uuid(), 1, 'ORDER_APPROVED', 'APPROVED', '{}', 'w:test', 'c'
               FROM generate_series(1, 1100)"""
        )
        await desk.outbox_empty()
        many = await desk.run("outbox", "republish", "--since", "1h")
        assert (many.code, many.out) == (2, "")
        assert "1,104 events again: say --yes" in many.err
        all_of_them = json.loads((await desk.run("outbox", "republish", "--since", "1h", "--yes", "--json")).out)
        assert all_of_them["republished"] == 1104
        await desk.outbox_empty()
    seen = await read_topic(desk.settings.kafka_bootstrap_servers, desk.settings.kafka_topic)
    assert len(assert_in_order(seen)) == 1102


async def test_a_stopped_partition_goes_on_after_the_command_that_the_status_names(desk: Desk) -> None:
    known = [uuid4() for _ in range(6)]
    async with running_relay(desk.settings):
        for order in known:
            await insert_event(desk.orders, order, 1)
        await desk.outbox_empty()
    admin = AIOKafkaAdminClient(bootstrap_servers=desk.settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([desk.settings.kafka_topic])
    await admin.close()
    await ensure_topic(desk.settings)
    async with running_relay(desk.settings):
        status: list[dict[str, Any]] = []

        async def shown() -> bool:
            status[:] = json.loads((await desk.run("outbox", "status", "--json")).out)
            return bool(status[0]["stopped_partitions"])

        await until(shown, seconds=30, every=0.2)
        stops = status[0]["stopped_partitions"]
        said = await desk.run("outbox", "status")
        assert said.code == 1
        half = await desk.run("outbox", "republish", "--order", str(known[0]))
        assert half.code == (1 if len(stops) > 1 else 0), "the others still stand"
        for number in [stop["partition"] for stop in stops]:
            assert f"`orderflow outbox republish --partition {number}`" in said.out
            done = await desk.run("outbox", "republish", "--partition", str(number), "--json")
            assert done.code == 0, done.err
        await desk.outbox_empty()
        assert (await desk.run("outbox", "status")).code == 0
    seen = await read_topic(desk.settings.kafka_bootstrap_servers, desk.settings.kafka_topic)
    assert assert_in_order(seen) == {order: [1] for order in known}


async def test_dead_letters_are_listed_shown_and_redriven_and_the_lag_goes_to_nothing(desk: Desk) -> None:
    good, poison = uuid4(), uuid4()
    # An order whose events the tracking's database refuses.
    admin = await asyncpg.connect(desk.databases.as_admin("orders"))
    await admin.execute(f"ALTER TABLE tracked_events ADD CONSTRAINT poison CHECK (order_id <> '{poison}')")
    before = await desk.run("lag", "--group", desk.settings.tracking_group, "--json")
    assert json.loads(before.out)[0]["lag"] == 0
    stopping = asyncio.Event()
    async with running_relay(desk.settings):
        for order in (good, poison):
            await insert_event(desk.orders, order, 1, type="ORDER_CREATED", status="DRAFT", data=CREATED)
        await insert_event(desk.orders, poison, 2)
        await desk.outbox_empty()
    behind = json.loads((await desk.run("lag", "--group", desk.settings.tracking_group, "--json")).out)
    assert behind[0]["lag"] == 3
    tracking = asyncio.create_task(serve(desk.settings, stopping, Health(), Shared(desk.settings, ())))
    try:

        async def set_aside() -> bool:
            return bool(await admin.fetchval("SELECT count(*) FROM dead_letters") == 2)

        await until(set_aside, seconds=60, every=0.1)
        listed = await desk.run("dlq", "list")
        assert listed.code == 1
        assert str(poison) in listed.out
        assert "2 dead letters hold 1 order" in listed.err
        letters = json.loads((await desk.run("dlq", "list", "--order", str(poison), "--json")).out)
        assert [letter["kind"] for letter in letters] == ["failed", "follows"]
        shown = json.loads((await desk.run("dlq", "show", str(letters[0]["id"]), "--json")).out)
        assert (shown["headers"]["ce_type"], shown["key"]) == ("ORDER_CREATED", str(poison))
        assert "poison" in (await desk.run("dlq", "show", str(letters[0]["id"]))).out
        assert (await desk.run("dlq", "show", "999")).code == 4
        assert (await desk.run("dlq", "discard", "999", "--yes")).code == 4
        fails = await desk.run("dlq", "redrive")
        assert (fails.code, "1 fails again" in fails.out) == (1, True)
        await admin.execute("ALTER TABLE tracked_events DROP CONSTRAINT poison")
        works = await desk.run("dlq", "redrive", "--json")
        assert (works.code, json.loads(works.out)) == (0, {"applied": 2, "skipped": 0, "failed": []})
        assert (await desk.run("dlq", "list")).code == 0
        await admin.execute(_NO_EVENT, desk.settings.tracking_group)
        [letter] = json.loads((await desk.run("dlq", "list", "--json")).out)
        given_up = json.loads((await desk.run("dlq", "discard", str(letter["id"]), "--yes", "--json")).out)
        assert (given_up["id"], given_up["kind"]) == (letter["id"], "undecodable")
        assert (await desk.run("dlq", "list")).code == 0

        async def nothing_behind() -> bool:
            [found] = json.loads((await desk.run("lag", "--json")).out)
            return bool(found["lag"] == 0 and found["group"] == desk.settings.tracking_group)

        await until(nothing_behind, seconds=30, every=0.2)
        assert "0 records behind" in (await desk.run("lag")).out
    finally:
        stopping.set()
        await tracking
        await admin.close()
