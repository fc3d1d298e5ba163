"""``orderflow doctor`` beside servers that are down, half set up or late: a line each, with what to do."""

import asyncio
import json
import shutil
import socket
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from operations.doctor import check
from operations.doctor.check import Check, Checked, clock, now, run_all
from operations.doctor.checks.databases import _OLD_LOGINS, _READ_ONLY_LOGINS
from orderflow.domain.access import EVERYONE
from orderflow.postgres.roles import ROLES, SERVICE_GROUP, group
from orderflow.security.sealing import make_keys
from orderflow.settings import Service
from orderflow.store import outbox, outbox_status, truncation
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.orders import Orders
from orderflow.store.outbox_status import relay_name
from orderflow.store.truncation import Cause, Position
from support.api import a_namespace
from support.orders import an_order, command
from support.paths import MIGRATIONS
from support.read_only import read_only
from support.relays import running_relay, settings_for
from support.stack import Databases
from support.terminal import Terminal
from support.tokens import key_files, seal
from support.waiting import until

NOBODY = "127.0.0.1:9"
NOWHERE = {
    "temporal_address": NOBODY,
    "kafka_bootstrap_servers": NOBODY,
    "gateway_url": f"http://{NOBODY}",
    "api_url": f"http://{NOBODY}",
    **{f"{service}_database_url": f"postgresql://x@{NOBODY}/x" for service in ("orders", "payments", "inventory")},
}


async def examined(home: Path, **settings: str) -> dict[str, dict[str, Any]]:
    given = {**NOWHERE, "migrations_dir": str(MIGRATIONS), **settings}
    said = await Terminal(home, **given).run("doctor", "--json")
    assert said.code == 1
    return {check["about"]: check for check in json.loads(said.out)["checks"]}


async def test_with_everything_down_each_line_says_what_to_do(tmp_path: Path) -> None:
    found = await examined(tmp_path)
    wrong = {about for about, check in found.items() if not check["ok"]}
    assert wrong == {
        *("orders database", "payments database", "inventory database", "dead letters"),
        *("Temporal", "Kafka", "API", "payment gateway", "payload keyring"),
    }
    assert all(found[about]["fix"] and found[about]["detail"] for about in wrong)
    people = await Terminal(tmp_path, **NOWHERE).run("doctor")
    assert (people.code, people.out.count("fix: "), "9 need you" in people.out) == (1, 9, True)


async def test_an_api_without_authentication_is_said(tmp_path: Path) -> None:
    assert (await examined(tmp_path))["authentication"]["ok"]
    found = await examined(tmp_path, api_authentication="off", codec_authentication="off")
    assert not found["authentication"]["ok"]
    assert "whoever is on the API's machine may do everything" in found["authentication"]["detail"]
    assert found["codec server"]["detail"].startswith("off: ")


async def test_a_wrong_password_is_called_that(databases: Databases, tmp_path: Path) -> None:
    parts = urlsplit(databases.orders)
    wrong = parts._replace(netloc=f"{parts.username}:wrong-S3cr3t@{parts.hostname}:{parts.port}").geturl()
    line = (await examined(tmp_path, orders_database_url=wrong))["orders database"]
    assert "wrong user or password: password authentication failed" in line["detail"]
    assert "set the user and password in ORDERFLOW_ORDERS_DATABASE_URL right" in line["fix"]
    terminal = Terminal(tmp_path, **{**NOWHERE, "orders_database_url": wrong, "orders_admin_url": wrong})
    listed = await terminal.run("dlq", "list")
    assert (listed.code, "refuses access: wrong user or password" in listed.err) == (3, True)
    order = "0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11"
    for name in ("explain", "watch"):
        told = await terminal.run("order", name, order)
        assert (told.code, "orders: wrong user or password: password authentication" in told.err) == (3, True)
        assert not any(word in told.out + told.err for word in ("does not answer (wrong", "S3cr3t"))
        assert name == "watch" or "the orders database, which refuses access (wrong user" in told.out
    prepared = await terminal.run("setup")
    assert (prepared.code, "wrong user or password: password authentication failed" in prepared.err) == (1, True)
    assert not any(word in listed.err + prepared.err for word in ("does not answer", "S3cr3t"))


async def test_a_database_that_takes_connections_and_is_silent_gives_no_answer_in_time(tmp_path: Path) -> None:
    """As a frozen one does: the kernel takes them for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = await examined(tmp_path, orders_database_url=f"postgresql://x@127.0.0.1:{port}/x")
    assert found["orders database"]["detail"] == "no answer in time"


async def test_what_was_found_before_a_locked_table_is_still_said(databases: Databases, tmp_path: Path) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        async with admin.transaction():
            await admin.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
            found = await examined(tmp_path, **databases.settings)
    finally:
        await admin.close()
    assert found["orders database"]["ok"]
    assert found["orders migrations"]["ok"]
    assert (found["orders outbox"]["ok"], found["orders outbox"]["detail"]) == (False, "no answer in time")
    assert "somebody holds a lock" in found["orders outbox"]["fix"]


async def test_a_migration_that_is_not_applied_is_named(databases: Databases, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "orders" / "20991231000000_tomorrow.sql").write_text("-- migrate:up\n-- migrate:down\n")
    (folder / "payments" / "20261123000010_payments.sql").unlink()
    found = await examined(
        tmp_path,
        **databases.settings,
        migrations_dir=str(folder),
    )
    assert found["orders migrations"]["detail"] == "not applied: 20991231000000_tomorrow.sql"
    assert "not known here: 20261123000010" in found["payments migrations"]["detail"]
    assert found["inventory migrations"]["ok"]
    assert not found["orders relay"]["ok"]


async def test_what_temporal_was_not_told_or_refuses_is_said(databases: Databases, tmp_path: Path) -> None:
    def given(found: dict[str, dict[str, Any]]) -> tuple[bool, str]:
        return found["handovers"]["ok"], found["handovers"]["detail"]

    async with Database("orders", databases.orders) as database:
        orders, handovers = Orders(database), Handovers(database)
        said = await examined(tmp_path, orders_database_url=databases.orders)
        assert given(said) == (True, "Temporal has been told of every order")
        order = an_order()
        await orders.place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
        accepted = await orders.carry_out(order.order_id, command("approve"), EVERYONE)
        assert accepted.handover is not None
        ok, detail = given(await examined(tmp_path, orders_database_url=databases.orders))
        assert (ok, "has not been told of 1 order, of the oldest for" in detail) == (True, True)
        await handovers.refused(accepted.handover, "too large")
        found = await examined(tmp_path, orders_database_url=databases.orders)
        assert not found["handovers"]["ok"]
        assert found["handovers"]["detail"] == "Temporal has not been told of 1 order, and refuses to be told of 1"
        assert "`orderflow stuck`" in found["handovers"]["fix"]


async def test_a_relay_is_judged_by_what_it_publishes_not_by_its_lease(databases: Databases, tmp_path: Path) -> None:
    """The lease is held, and an event that nothing but the relay keeps back waits."""

    async def given() -> tuple[bool, str]:
        found = await examined(tmp_path, orders_database_url=databases.orders, relay_lease_seconds="600")
        return found["orders relay"]["ok"], found["orders relay"]["detail"]

    async with Database("orders", databases.orders) as database:
        assert await outbox.hold_lease(database, "relay-of-a-test", 600.0)
        assert await given() == (True, "relay-of leads")
        order = an_order()
        await Orders(database).place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
        assert (await given())[0], "it came just now"
        admin = await asyncpg.connect(databases.as_admin("orders"))
        try:
            await admin.execute("SET session_replication_role = replica")
            await admin.execute("UPDATE events SET recorded_at = recorded_at - interval '5 minutes'")
            ok, detail = await given()
            assert not ok
            assert detail.startswith(
                "relay-of leads, and publishes nothing: an event that could go out has waited for "
            )
            await admin.execute(
                "INSERT INTO parked_orders (order_id, version, error) SELECT order_id, 1, 'too large' FROM orders"
            )
        finally:
            await admin.close()
        assert await given() == (True, "relay-of leads")


async def test_a_lease_that_ends_too_late_is_named_while_no_relay_takes_it_over(
    databases: Databases, tmp_path: Path
) -> None:
    async with Database("orders", databases.orders) as database:
        assert await outbox.hold_lease(database, "relay-of-a-test", 5.0)
    admin = await asyncpg.connect(databases.as_admin("orders"))
    await admin.execute("UPDATE relay_lease SET expires_at = clock_timestamp() + interval '2 hours'")
    await admin.close()
    line = (await examined(tmp_path, orders_database_url=databases.orders))["orders relay"]
    assert not line["ok"]
    assert line["detail"].startswith("the lease of relay-of ends in ")
    assert "the database's clock was ahead" in line["detail"]


async def test_a_relay_that_is_connected_and_cannot_renew_its_lease_is_not_called_absent(
    databases: Databases, tmp_path: Path
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))

    async def nobody_leads() -> bool:
        return not await admin.fetchval("SELECT EXISTS (SELECT FROM relay_lease WHERE expires_at > clock_timestamp())")

    try:
        async with running_relay(settings_for(databases, NOBODY)) as running:

            async def leads() -> bool:
                return running.relay.leads

            await until(leads, seconds=30)
            async with admin.transaction():
                await admin.execute("SELECT FROM relay_lease FOR UPDATE")
                await until(nobody_leads, seconds=30)
                held = (await examined(tmp_path, **databases.settings))["orders relay"]
        assert held["detail"].startswith("a relay is connected and does not renew its lease: it is frozen, or cannot")
        assert "`pg_blocking_pids(pid)` of its connections" in held["fix"]
        assert "(application_name relay-orders)" in held["fix"]
        gone = (await examined(tmp_path, **databases.settings))["orders relay"]
        assert gone["detail"] == "nobody leads: nothing is published"
    finally:
        await admin.close()


async def test_a_relay_whose_login_is_read_only_is_seen_by_the_connection_that_it_listens_on(
    databases: Databases,
) -> None:
    """It closes the others at each refusal."""
    async with Database(relay_name("orders"), databases.url("orders", "relay")) as database:
        listening = asyncio.create_task(database.listening(lambda: None))

        async def seen() -> bool:
            return await outbox_status.relay_connections(reader, "orders") == 1

        async with Database("orders", databases.url("orders", "reader")) as reader:
            await until(seen, seconds=30)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_database_whose_connections_are_read_only_is_named_while_they_are(
    databases: Databases, tmp_path: Path
) -> None:
    async with read_only(databases.as_admin("orders")):
        found = await examined(tmp_path, orders_database_url=databases.orders)
        assert not found["orders database writes"]["ok"]
        assert "read-only (default_transaction_read_only is on)" in found["orders database writes"]["detail"]
    assert "orders database writes" not in await examined(tmp_path, orders_database_url=databases.orders)


async def test_a_login_that_is_read_only_is_named_while_it_is(databases: Databases, tmp_path: Path) -> None:
    name = databases.inventory.rpartition("/")[2].partition("?")[0]
    admin = await asyncpg.connect(databases.as_admin("inventory"))
    # Roles belong to the server, which other tests use too: a setting for one database is this test's own.
    setting = f"ALTER ROLE inventory_worker IN DATABASE {name} {{}} default_transaction_read_only"
    try:
        assert "inventory role inventory_worker" not in await examined(tmp_path, **databases.settings)
        await admin.execute(setting.format("SET") + " = 'YES'")
        found = await examined(tmp_path, **databases.settings)
        line = found["inventory role inventory_worker"]
        assert (line["ok"], f"({setting.format('SET')})" in line["detail"]) == (False, True)
        assert f"`{setting.format('RESET')}`" in line["fix"]
        assert "inventory database writes" not in found, "the connections of others are not"
        await admin.execute(setting.format("RESET"))
        assert "inventory role inventory_worker" not in await examined(tmp_path, **databases.settings)
    finally:
        await admin.close()


async def test_a_login_that_writes_nothing_here_may_be_read_only(databases: Databases) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    database = await admin.fetchval("SELECT current_database()")
    values = {"groups": [group("worker")]}

    async def named() -> list[tuple[str, str | None]]:
        rows = await admin.fetch(_READ_ONLY_LOGINS.sql, *_READ_ONLY_LOGINS.arguments(values))
        return [(row["name"], row["database"]) for row in rows]

    undo = admin.transaction()
    await undo.start()
    try:
        for login, of in (
            ("analyst", ""),
            ("looks", "IN ROLE orderflow_reader"),
            ("elsewhere", "IN ROLE orderflow_worker"),
            ('"Writes here"', "IN ROLE orderflow_worker"),
        ):
            await admin.execute(f"CREATE ROLE {login} LOGIN {of}")
            await admin.execute(f"ALTER ROLE {login} SET statement_timeout = '9s'")
            await admin.execute(f"ALTER ROLE {login} SET default_transaction_read_only = on")
        await admin.execute(f'GRANT CONNECT ON DATABASE {database} TO analyst, looks, "Writes here"')
        assert await named() == [('"Writes here"', None)]
        # What is set for the database counts before what is set for all.
        await admin.execute(f'ALTER ROLE "Writes here" IN DATABASE {database} SET default_transaction_read_only = off')
        assert await named() == []
    finally:
        await undo.rollback()
        await admin.close()


async def test_a_privilege_that_somebody_revoked_is_named(databases: Databases, tmp_path: Path) -> None:
    assert not any(" role " in about for about in await examined(tmp_path, **databases.settings))
    rights: list[tuple[Service, str]] = [
        ("inventory", "UPDATE ON stock FROM orderflow_worker"),
        ("orders", "USAGE ON SEQUENCE handover_numbers FROM orderflow_api"),
        ("orders", 'UPDATE ("offset") ON publications FROM orderflow_relay'),
    ]
    for service, revoked in rights:
        admin = await asyncpg.connect(databases.as_admin(service))
        await admin.execute(f"REVOKE {revoked}")
        await admin.close()
    found = await examined(tmp_path, **databases.settings)
    lines = {about: line["detail"] for about, line in found.items() if " role " in about}
    assert lines == {
        "inventory role orderflow_worker": "lacks UPDATE on stock",
        "orders role orderflow_api": "lacks USAGE on handover_numbers",
        "orders role orderflow_relay": 'lacks UPDATE ("offset") on publications',
    }
    assert "`orderflow setup`" in found["inventory role orderflow_worker"]["fix"]


async def test_a_services_login_is_named_once_each_process_has_a_role_of_its_own(
    databases: Databases, tmp_path: Path
) -> None:
    name = databases.orders.rpartition("/")[2].partition("?")[0]
    moved = {variable: str(url) for variable, url in databases.settings.items() if "_reader_" in variable}
    old = await asyncpg.connect(databases.orders)
    admin = await asyncpg.connect(databases.as_admin("orders"))

    async def logins(**settings: str) -> dict[str, dict[str, Any]]:
        found = await examined(tmp_path, **settings)
        return {about: line for about, line in found.items() if " login " in about}

    try:
        found = await logins(**moved)
        assert found.keys() == {f"{service} login {service}" for service in ("orders", "payments", "inventory")}
        line = found["orders login orders"]
        assert (line["ok"], "1 connection uses it" in line["detail"]) == (False, True)
        assert "then shut it, as the admin: `ALTER ROLE orders NOLOGIN`" in line["fix"]
        assert "connection" not in found["payments login payments"]["detail"]
        assert await logins(orders_database_url=databases.orders) == {}, "doctor uses it, so who else does?"
        # Somebody has not been given a role yet.
        await admin.execute(f"REVOKE CONNECT ON DATABASE {name} FROM orders_relay")
        assert "orders login orders" not in await logins(**moved)
        await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO orders_relay")
        # Roles belong to the server, which other tests use too: what NOLOGIN does is tried in a transaction below.
        await admin.execute(f"REVOKE CONNECT ON DATABASE {name} FROM orders")
        assert "orders login orders" not in await logins(**moved)
    finally:
        await old.close()
        await admin.close()


async def test_a_login_that_was_shut_is_named_no_more(databases: Databases) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    values = {"all": SERVICE_GROUP, "kinds": [group(role) for role in ROLES["orders"]]}

    async def named() -> list[str]:
        rows = await admin.fetch(_OLD_LOGINS.sql, *_OLD_LOGINS.arguments(values))
        return [row["name"] for row in rows]

    undo = admin.transaction()
    await undo.start()
    try:
        assert await named() == ["orders"]
        await admin.execute('CREATE ROLE "Old one" LOGIN IN ROLE orderflow_service')
        await admin.execute(
            f'GRANT CONNECT ON DATABASE {await admin.fetchval("SELECT current_database()")} TO "Old one"'
        )
        assert await named() == ['"Old one"', "orders"]
        await admin.execute('ALTER ROLE "Old one" NOLOGIN')
        await admin.execute("ALTER ROLE orders NOLOGIN")
        assert await named() == []
    finally:
        await undo.rollback()
        await admin.close()


async def test_events_that_somebody_deleted_from_the_outbox_are_named(databases: Databases, tmp_path: Path) -> None:
    order = an_order()
    async with Database("orders", databases.orders) as database:
        await Orders(database).place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
        assert "orders events" not in await examined(tmp_path, orders_database_url=databases.orders)
        admin = await asyncpg.connect(databases.orders)
        await admin.execute("DELETE FROM outbox")
        await admin.close()
    found = (await examined(tmp_path, orders_database_url=databases.orders))["orders events"]
    assert not found["ok"]
    assert found["detail"].startswith("1 is neither published nor in the outbox")
    assert f"order {order.order_id}: 1" in found["detail"]
    assert "`orderflow reconcile --repair`" in found["fix"]


async def test_a_topic_that_was_made_anew_is_called_that(databases: Databases, tmp_path: Path) -> None:
    async with Database("orders", databases.orders) as database:
        await truncation.stop(database, Position(uuid4(), 2, 5, 7), "another topic", Cause.MADE_ANEW)
        await truncation.stop(database, Position(uuid4(), 2, 6, 7), "nothing", Cause.LOST)
    found = await examined(tmp_path, orders_database_url=databases.orders)
    assert "the topic was deleted and made anew" in found["orders partition 5"]["detail"]
    assert "`orderflow outbox republish --stopped`" in found["orders partition 5"]["fix"]
    assert "at offset 7 is nothing" in found["orders partition 6"]["detail"]


async def test_a_payment_token_whose_key_is_gone_is_said(databases: Databases, tmp_path: Path) -> None:
    files = {name: str(path) for name, path in key_files().items()}
    async with Database("orders", databases.orders) as database:
        order = an_order()
        await Orders(database).place(order, command("place", "w:place"), seal(order.order_id, "tok_ok"))
    found = await examined(tmp_path, orders_database_url=databases.orders, **files)
    assert found["payment tokens"]["detail"] == "1 are kept, and can be opened"
    private, public = tmp_path / "other" / "private.pem", tmp_path / "other" / "public.pem"
    make_keys(private, public)
    files = {"token_private_key_file": str(private), "token_public_key_file": str(public)}
    found = await examined(tmp_path, orders_database_url=databases.orders, **files)
    assert found["payment token keys"]["ok"]
    assert not found["payment tokens"]["ok"]
    assert f"1 were sealed with keys that are not in {private}" in found["payment tokens"]["detail"]


async def test_a_queue_that_nobody_polls_and_a_namespace_that_is_not_there(
    temporal_server: str, tmp_path: Path
) -> None:
    namespace = await a_namespace(temporal_server)
    found = await examined(tmp_path, temporal_address=temporal_server, temporal_namespace=namespace)
    assert found["Temporal"]["ok"]
    assert found["task queue payments"]["detail"] == "nobody polls it"
    assert found["task queue payments"]["fix"] == "start a worker: `orderflow worker payments`"
    assert found["task queue order-runs"]["fix"] == "start a worker: `orderflow worker orders`"
    found = await examined(tmp_path, temporal_address=temporal_server, temporal_namespace="none-such")
    assert found["namespace none-such"]["detail"] == "it is not there"


async def test_a_check_that_hangs_or_breaks_is_a_line_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "DEADLINE_SECONDS", 0.05)

    async def hangs() -> Sequence[Checked]:
        await asyncio.Event().wait()
        return []

    async def breaks() -> Sequence[Checked]:
        raise KeyError("x")

    async def works() -> Sequence[Checked]:
        return [Checked("works", True, "fine")]

    lines = await run_all([Check("hangs", hangs, "a"), Check("breaks", breaks, "b"), Check("works", works, "c")])
    assert [(line.about, line.ok) for line in lines] == [("hangs", False), ("breaks", False), ("works", True)]
    assert "no answer within" in lines[0].detail
    assert "KeyError" in lines[1].detail


@pytest.mark.parametrize(("seconds", "said"), [(-60, "60.0 s behind"), (60, "60.0 s ahead of"), (1, "agrees")])
def test_a_clock_is_compared_with_the_time_of_the_question(seconds: int, said: str) -> None:
    asked = now()
    line = clock("it", asked + timedelta(seconds=seconds), asked, asked)
    assert said in line.detail
    assert line.ok == (seconds == 1)
