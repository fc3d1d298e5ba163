"""What has waited too long, and what is merely in motion."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import typer
from temporalio.client import ScheduleActionExecutionStartWorkflow
from temporalio.service import RPCError
from typer.testing import CliRunner

from cli.reconcile import register
from operations.reconciliation.findings import Kind, Reconcile, Report
from operations.reconciliation.schedule import SCHEDULE, ensure_schedule
from operations.reconciliation.stores import open_stores
from orderflow.domain.errors import Unavailable
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.settings import Settings
from orderflow.store import outbox, truncation
from orderflow.store.truncation import Cause, Position
from orderflow.telemetry import meters
from support.auditor import Auditor
from support.gateway import running_simulator
from support.orders import an_order
from support.scrapes import counted
from support.stack import Databases
from support.waiting import until
from workers.reconciliation import make

_SOON = 1e-6


async def test_nothing_in_motion_is_found_under_load(auditor: Auditor) -> None:
    world = auditor.world
    looking = True

    async def look() -> int:
        looks = 0
        while looking or not looks:
            # On a busy machine a step may take a while; it is never wrong for so long.
            assert await auditor.findings(reconcile_older_than_seconds=10.0) == []
            looks += 1
        return looks

    async def live(end: str, token: str = "tok_ok") -> None:
        handle = await world.place(an_order(("bread", 1, 150)), token)
        await world.send(handle, "approve")
        if token == "tok_ok":
            await world.reaches(handle, "FULFILLING")
            await world.ask(handle, "cancel" if end == "cancel" else "ship")
            if end == "ship":
                await world.ask(handle, "complete")
        await handle.result()

    watching = asyncio.create_task(look())
    for _ in range(2):
        await asyncio.gather(live("ship"), live("ship"), live("cancel"), live("cancel"), live("", "tok_declined"))
    looking = False
    assert await watching >= 1
    await auditor.finds()  # and at rest, however young it all is


async def test_what_is_younger_than_the_setting_is_not_found(auditor: Auditor) -> None:
    handle, _ = await auditor.fulfilling()
    await handle.terminate("a test")
    await auditor.finds(Kind.WORKFLOW_GONE)
    assert await auditor.kinds(reconcile_older_than_seconds=300.0) == set()


async def test_what_moves_between_the_two_looks_is_not_found(auditor: Auditor) -> None:
    sql = "UPDATE stock SET on_hand = 11, version = version + 1, updated_at = clock_timestamp() WHERE sku = 'bread'"
    await auditor.around_the_rule("inventory", sql)
    await auditor.finds(Kind.STOCK_DIFFERS)
    reconciler = auditor.reconciler()
    looks = 0
    read = reconciler.look

    async def look_and_move(*arguments: object) -> object:
        nonlocal looks
        looks += 1
        facts = await read(*arguments)  # type: ignore[arg-type]
        await auditor.around_the_rule("inventory", sql)
        return facts

    reconciler.look = look_and_move  # type: ignore[method-assign, assignment]
    assert (await reconciler.run(Reconcile())).counts == {}
    assert looks == 2


async def test_orders_that_wait_and_old_authorizations_are_reported_only(auditor: Auditor) -> None:
    world = auditor.world
    await auditor.fulfilling()
    ships, _ = await auditor.fulfilling()
    await world.stop_worker("payments")
    await world.send(ships, "ship")
    handle = await world.place(an_order(("bread", 1, 150)))
    await world.ask(handle, "approve")
    await world.place(an_order(("bread", 1, 150)))  # a DRAFT waits for nobody
    limits = {
        "reconcile_stuck_seconds": _SOON,
        "reconcile_waiting_hours": _SOON,
        "reconcile_authorization_age_hours": _SOON,
    }
    found = await auditor.finds(Kind.WAITS_LONG, Kind.AUTHORIZATION_LAPSING, **limits)

    async def all_three() -> bool:
        found[:] = await auditor.findings(repair=True, **limits)
        return len(found) == 5

    await until(all_three)
    waits = {h.finding.evidence["waits_for"] for h in found if h.finding.kind is Kind.WAITS_LONG}
    assert waits == {"its ship", "its capture", "payment and stock"}
    assert {h.outcome for h in found} == {"reported"}
    assert await auditor.records() == {}
    await world.start_worker("payments")


async def test_old_outbox_entries_and_parked_orders_are_reported_only(auditor: Auditor) -> None:
    await auditor.fulfilling()
    found = await auditor.finds(Kind.OUTBOX_WAITS, reconcile_outbox_seconds=_SOON)
    assert {h.finding.subject: h.finding.evidence["entries"] for h in found} == {
        "orders": 3,
        "payments": 1,
        "inventory": 1,
    }
    [entry, *_] = await outbox.pending(auditor.world.orders, 1)
    await outbox.park(auditor.world.orders, entry, "MessageSizeTooLargeError")
    [parked] = await auditor.finds(Kind.ORDER_PARKED)
    assert parked.finding.evidence == {"version": 1, "error": "MessageSizeTooLargeError"}


def _counted(outcome: str) -> float:
    """Findings of deleted events so far, by what came of them."""
    return counted("orderflow_reconciliation_findings_total", kind="events_forgotten", outcome=outcome)


async def test_events_that_somebody_deleted_from_an_outbox_are_put_back(auditor: Auditor, databases: Databases) -> None:
    meters.switch_on()
    _, order = await auditor.fulfilling()
    for url in (databases.orders, databases.inventory):
        admin = await asyncpg.connect(url)  # as its role, which may
        await admin.execute("DELETE FROM outbox WHERE version = 1")
        await admin.close()
    reported, repaired = _counted("reported"), _counted("repaired")
    found = await auditor.finds(Kind.EVENTS_FORGOTTEN)
    assert {(h.finding.subject, *h.finding.evidence["versions"]) for h in found} == {
        (f"orders/{order}", 1),
        (f"inventory/{order}", 1),
    }
    assert _counted("reported") >= reported + 2, "each time, each order of a service"
    assert {h.outcome for h in await auditor.findings(repair=True)} == {"repaired"}
    reported = _counted("reported")
    assert await auditor.findings() == []
    assert (_counted("reported"), _counted("repaired")) == (reported, repaired + 2)
    pending = await outbox.pending(auditor.world.orders, 10)
    assert [entry.version for entry in pending] == [1, 2, 3]


async def test_a_stopped_partition_is_reported_with_its_cause(auditor: Auditor) -> None:
    last = Position(uuid4(), 3, 7, 41)
    await truncation.stop(auditor.world.payments, last, "another topic", Cause.MADE_ANEW)
    [found] = await auditor.finds(Kind.PARTITION_STOPPED)
    assert (found.finding.subject, found.outcome) == ("payments/partition 7", "reported")
    assert found.finding.evidence == {"cause": "made_anew", "offset": 41, "found": "another topic"}


async def test_half_a_look_tells_nothing(auditor: Auditor) -> None:
    reconciler = auditor.reconciler()
    reconciler._ledger = HttpPaymentGateway(GatewayClient("http://127.0.0.1:9", 1.0))
    with pytest.raises(Unavailable, match="payment gateway"):
        await reconciler.run(Reconcile(repair=True))


# --- The gateway's ledger ---


async def test_the_gateway_lists_what_it_holds_and_what_it_took(tmp_path: Path) -> None:
    held, taken, released, refunded = (uuid4() for _ in range(4))
    async with running_simulator(tmp_path) as url, GatewayClient(url, 10.0) as client:
        gateway = HttpPaymentGateway(client)
        for number, reference in enumerate((held, taken, released, refunded)):
            await gateway.authorize(reference, 100 + number, "USD", "tok_ok", f"{reference}:w:authorize")
        for reference in (taken, refunded):
            await gateway.capture(reference, f"{reference}:w:capture")
        for reference in (released, refunded):
            await gateway.void(reference, f"{reference}:w:void")
        [before] = [f.since for f in await gateway.money(datetime(2020, 1, 1, tzinfo=UTC)) if f.reference == taken]
        money = {f.reference: (f.status, f.amount, f.currency) for f in await gateway.money(before)}
        assert money == {held: ("authorized", 100, "USD"), taken: ("captured", 101, "USD")}
        later = {f.reference for f in await gateway.money(before.replace(year=before.year + 1))}
        assert later == {held}
        answer = await client.exchange("a bad question", "GET", "/v1/money?captured_since=yesterday")
        assert answer.status == 422


# --- By the clock, and by hand ---


def _settings(auditor: Auditor, databases: Databases, gateway_url: str, **more: object) -> Settings:
    return Settings(
        **databases.settings,
        temporal_address=auditor.world.settings.temporal_address,
        temporal_namespace=auditor.world.settings.temporal_namespace,
        gateway_url=gateway_url,
        worker_graceful_shutdown_seconds=1,
        **more,  # type: ignore[arg-type]
    )


async def test_a_schedule_runs_it_and_its_report_stands_in_temporal(
    auditor: Auditor, databases: Databases, tmp_path: Path
) -> None:
    client = auditor.world.client
    async with running_simulator(tmp_path) as url:
        settings = _settings(auditor, databases, url, reconcile_interval_seconds=3600)
        for _ in range(2):
            await ensure_schedule(client, settings)
        every = _settings(auditor, databases, url, reconcile_interval_seconds=1800)
        await ensure_schedule(client, every)
        schedule = client.get_schedule_handle(SCHEDULE)
        [interval] = (await schedule.describe()).schedule.spec.intervals
        assert interval.every.total_seconds() == 1800
        async with open_stores(settings) as stores, make(client, settings, stores):
            await schedule.trigger()
            ran: list[str] = []

            async def runs() -> bool:
                actions = (await schedule.describe()).info.recent_actions
                started = [action.action for action in actions]
                ran[:] = [one.workflow_id for one in started if isinstance(one, ScheduleActionExecutionStartWorkflow)]
                return bool(ran)

            await until(runs, seconds=30)
            report = Report.model_validate(await client.get_workflow_handle(ran[0]).result())
        assert report.counts == {}
        assert report.repair is False
        for _ in range(2):
            await ensure_schedule(client, _settings(auditor, databases, url, reconcile_interval_seconds=0))
        with pytest.raises(RPCError):
            await schedule.describe()


async def test_the_command_reports_repairs_and_says_so_by_its_exit_code(
    auditor: Auditor, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)

    async def invoke(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["reconcile", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout if "--json" in arguments else " ".join(result.stdout.split())

    async with running_simulator(tmp_path) as url:
        settings = _settings(auditor, databases, url)
        monkeypatch.setattr("cli.reconcile.running_settings", lambda: settings)
        code, said = await invoke()
        assert (code, "everything fits together" in said) == (0, True)
        await auditor.world.stop_worker("payments")  # its gateway is another than the command's
        handle = await auditor.world.place()
        await auditor.world.ask(handle, "approve")
        await handle.terminate("a test")
        await auditor.finds(Kind.WORKFLOW_GONE)
        code, said = await invoke("--json", "--older-than", "0")
        report = Report.model_validate(json.loads(said))
        assert (code, report.counts) == (1, {"workflow_gone": 1})
        code, said = await invoke("--older-than", "0")
        assert code == 1
        assert "`orderflow reconcile --repair` repairs 1" in said
        code, said = await invoke("--repair", "--older-than", "0")
        assert (code, "1 repaired" in said) == (0, True)
        await auditor.world.tell_all()
        await auditor.finds()
        code, _ = await invoke("--older-than", "0")
        assert code == 0
    code, _ = await invoke()
    assert code == 3
