"""`orderflow order nudge`, `reset` and `cancel --reason`: what they do, what they record, what they refuse."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus

from operations.explain.gather import open_sources
from orderflow.settings import Settings
from support.keys import KEY_TEXT
from support.stack import PostgresServer
from support.terminal import Shop, Terminal, a_shop
from support.waiting import until
from support.world import Handle

NO_ORDER = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(scope="module")
async def shop(
    postgres: PostgresServer, temporal_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    async with a_shop(postgres, temporal_server, tmp_path_factory.mktemp("home"), stores=True) as shop:
        yield shop


async def placed(shop: Shop) -> str:
    said = await shop.terminal.run("order", "place", "--customer", "c-1", "--line", "bread:1:150", "--json")
    return str(json.loads(said.out)["id"])


async def interventions(shop: Shop, settings: Settings, order_id: str) -> list[str]:
    """What `order explain` tells of operators, in order of time; the ids without their time."""
    async with open_sources(settings) as sources:
        lines = [line.what for line in (await sources.gather(UUID(order_id))).lines]
    return [re.sub(r"r:(\w+):\w+\.\w+", r"r:\1", line) for line in lines if " by an operator " in line]


def run_of(shop: Shop, order_id: str) -> Handle:
    handle: Handle = shop.world.client.get_workflow_handle(f"order-{order_id}")
    return handle


async def reset(shop: Shop, order_id: str, *options: str) -> dict[str, Any]:
    said = await shop.terminal.run("order", "reset", order_id, "--reason", "looks odd", "--yes", "--json", *options)
    assert said.code == 0, said.err
    done: dict[str, Any] = json.loads(said.out)
    assert done["run_id"] != done["ended_run_id"]
    return done


async def fulfilling(shop: Shop) -> str:
    order_id = await placed(shop)
    await shop.world.ask(run_of(shop, order_id), "approve")
    await shop.world.reaches(run_of(shop, order_id), "FULFILLING")
    return order_id


async def completed(shop: Shop, order_id: str) -> None:
    handle = run_of(shop, order_id)
    for command in ("ship", "complete"):
        assert (await shop.world.ask(handle, command))["refusal"] is None
    await happened_once(shop, order_id)


async def happened_once(shop: Shop, order_id: str) -> None:
    """COMPLETED, with one event of each kind, one authorization, one capture."""
    handle = run_of(shop, order_id)
    await asyncio.wait_for(handle.result(), 30)
    assert await shop.world.statuses(handle) == ["DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED"]
    assert await shop.world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    assert await shop.world.statuses(handle, "inventory") == ["RESERVED", "COMMITTED"]
    # The gateway's double fails an authorization or a capture that is done twice; its ledger has the end.
    assert shop.world.gateway.state[UUID(order_id)] == "captured"
    assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_a_nudge_is_recorded_and_leaves_the_order_as_it_is(shop: Shop) -> None:
    settings = shop.world.settings
    order_id = await fulfilling(shop)
    said = await shop.terminal.run("order", "nudge", order_id, "--reason", "it  looks\nasleep", "--json")
    assert said.code == 0, said.err
    record = json.loads(said.out)["recorded_as"]
    assert record.startswith("r:nudge:")
    await shop.world.tell_all()

    async def told() -> bool:
        async with open_sources(settings) as sources:
            lines = [line.what for line in (await sources.gather(UUID(order_id))).lines]
        assert any(f"nudge by an operator ({record}): it looks asleep (by " in line for line in lines)
        # It may have looked at the same version before: the approve is told twice where its answer was late.
        signalled = lines.index("signal look") if "signal look" in lines else len(lines)
        return "look: FULFILLING (version 3)" in lines[signalled:]

    await until(told)
    shown = json.loads((await shop.terminal.run("order", "show", order_id, "--json")).out)
    assert (shown["status"], shown["version"]) == ("FULFILLING", 3)


async def test_a_nudge_has_a_workflow_begin_where_none_runs(shop: Shop) -> None:
    order_id = await fulfilling(shop)
    await run_of(shop, order_id).terminate(reason="by mistake")
    assert (await shop.terminal.run("order", "nudge", order_id, "--reason", "terminated by mistake")).code == 0
    await shop.world.tell_all()
    await completed(shop, order_id)


async def test_a_draft_has_no_workflow_to_nudge_or_to_reset(shop: Shop) -> None:
    order_id = await placed(shop)
    nudged = await shop.terminal.run("order", "nudge", order_id, "--reason", "nobody there")
    assert (nudged.code, "it is a DRAFT, which has no workflow" in nudged.err) == (1, True)
    said = await shop.terminal.run("order", "reset", order_id, "--reason", "nobody there")
    assert (said.code, "Temporal remembers no workflow of it" in said.err) == (1, True)
    assert await interventions(shop, shop.world.settings, order_id) == []


async def test_a_reset_runs_a_terminated_workflow_again(shop: Shop) -> None:
    order_id = await fulfilling(shop)
    await run_of(shop, order_id).terminate(reason="by mistake")
    said = await shop.terminal.run("order", "reset", order_id, "--reason", "terminated by mistake")
    assert said.code == 0, said.err
    assert re.search(r"runs again from event \d+, run [-0-9a-f]+, recorded as r:reset:", said.out)
    await completed(shop, order_id)


@pytest.mark.parametrize("name", ["nudge", "reset"])
async def test_what_is_not_possible(shop: Shop, name: str, tmp_path: Path) -> None:
    said = await shop.terminal.run("order", name, NO_ORDER, "--reason", "x")
    assert said.code == 4
    assert NO_ORDER in said.err
    for arguments in ((), ("--reason", " "), ("--reason", "x" * 501)):
        assert (await shop.terminal.run("order", name, NO_ORDER, *arguments)).code == 2
    away = Terminal(tmp_path, temporal_address="127.0.0.1:9")
    assert (await away.run("order", name, NO_ORDER, "--reason", "x")).code == 3


async def test_a_running_workflow_is_reset_only_when_that_is_said(shop: Shop) -> None:
    settings = shop.world.settings
    order_id = await fulfilling(shop)
    run = (await run_of(shop, order_id).describe()).run_id
    arguments = ("order", "reset", order_id, "--reason", "no need")
    said = await shop.terminal.run(*arguments)
    assert (said.code, "say --yes" in said.err) == (2, True)
    for point in ("middle", "-1", "²", "9" * 5000):
        assert (await shop.terminal.run(*arguments, "--yes", "--to", point)).code == 2
    beside = await shop.terminal.run(*arguments, "--yes", "--to", "5")
    assert (beside.code, "no workflow task was finished with that event; one was with 4" in beside.err) == (2, True)
    assert (await run_of(shop, order_id).describe()).run_id == run
    assert await interventions(shop, settings, order_id) == []


async def test_an_order_that_is_reset_happens_once(shop: Shop) -> None:
    settings = shop.world.settings
    order_id = await fulfilling(shop)
    done = await reset(shop, order_id)
    told = f"looks odd; run {done['ended_run_id']}, from event {done['event_id']} (by "
    [line] = await interventions(shop, settings, order_id)
    assert line.startswith(f"reset by an operator (r:reset): {told}")
    await reset(shop, order_id, "--to", "first")
    await completed(shop, order_id)


@pytest.mark.parametrize("to", ["last", "first"])
async def test_an_order_that_is_reset_while_steps_run_happens_once(shop: Shop, to: str) -> None:
    order_id = await placed(shop)
    handle, calls = run_of(shop, order_id), shop.world.gateway.calls
    gate = shop.world.gateway.hold("authorize")
    before = len(calls)
    await shop.world.ask(handle, "approve")

    async def asked(times: int) -> bool:
        return len(calls) == before + times

    await until(lambda: asked(1))
    await reset(shop, order_id, "--to", to)
    await until(lambda: asked(2))  # by the new run; the first call has not returned yet
    gate.set()
    await shop.world.reaches(handle, "FULFILLING")
    await shop.world.ask(handle, "ship")
    await shop.world.ask(handle, "complete")
    await happened_once(shop, order_id)
    keys = [key for operation, key in calls[before:] if operation == "authorize"]
    assert (len(keys), len(set(keys))) == (2, 1)


async def test_an_order_that_is_reset_while_its_payment_is_captured_happens_once(
    shop: Shop,
) -> None:
    order_id = await placed(shop)
    handle, calls = run_of(shop, order_id), shop.world.gateway.calls
    await shop.world.ask(handle, "approve")
    await shop.world.reaches(handle, "FULFILLING")
    gate = shop.world.gateway.hold("capture")
    before = len(calls)
    await shop.world.send(handle, "ship")

    async def captures(number: int) -> bool:
        return len(calls) == before + number

    await until(lambda: captures(1))
    await reset(shop, order_id, "--to", "first")
    await until(lambda: captures(2))
    gate.set()
    assert (await shop.world.outcome(handle, "c:ship"))["refusal"] is None
    await shop.world.ask(handle, "complete")
    await happened_once(shop, order_id)
    assert len({key for _, key in calls[before:]}) == 1


@pytest.mark.parametrize(("typed", "code"), [("n", 2), ("y", 0)])
async def test_on_a_terminal_it_asks(shop: Shop, typed: str, code: int) -> None:
    order_id = await fulfilling(shop)
    run = (await run_of(shop, order_id).describe()).run_id
    keyboard, stdin = os.openpty()
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "order", "reset", order_id, "--reason", "looks odd"),
            cwd=shop.terminal.home,
            env=shop.terminal.env,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        os.write(keyboard, f"{typed}\n".encode())
        _, err = await asyncio.wait_for(child.communicate(), 60)
    finally:
        os.close(keyboard)
        os.close(stdin)
    assert child.returncode == code, err.decode()
    assert "Signals since then, which are handed to it again: none." in err.decode()
    assert ((await run_of(shop, order_id).describe()).run_id == run) == (code != 0)


async def test_signals_since_the_point_are_handed_in_again(shop: Shop) -> None:
    """Those that were carried out, which repeat nothing, and one that no worker had taken yet."""
    order_id = await placed(shop)
    handle = run_of(shop, order_id)
    await shop.world.ask(handle, "approve")
    await shop.world.reaches(handle, "FULFILLING")
    await shop.world.stop_worker("orders")
    try:
        await shop.world.send(handle, "ship")
        done = await reset(shop, order_id, "--to", "first")
        events = [event async for event in handle.fetch_history_events()]
        signals = [event for event in events if event.HasField("workflow_execution_signaled_event_attributes")]
        names = [event.workflow_execution_signaled_event_attributes.signal_name for event in signals]
        assert names == ["ship"]  # an approve starts the run
        assert min(event.event_id for event in signals) > done["event_id"]
    finally:
        await shop.world.start_worker("orders")
    await shop.world.reaches(handle, "SHIPPED")
    await shop.world.ask(handle, "complete")
    await happened_once(shop, order_id)
    said = await shop.terminal.run("order", "reset", order_id, "--reason", "x", "--yes")
    assert (said.code, "came to its end" in said.err) == (1, True)


async def test_a_cancel_with_a_reason_is_recorded_with_what_came_of_it(shop: Shop) -> None:
    settings = shop.world.settings
    order_id = await placed(shop)
    arguments = ("order", "cancel", order_id, "--reason", "called  twice", "--key", "k-1")
    stale = await shop.terminal.run("order", "cancel", order_id, "--reason", "fraud?", "--if-match", "7", "--json")
    assert (stale.code, json.loads(stale.out)["recorded_as"][:9]) == (1, "r:cancel:")
    first = await shop.terminal.run(*arguments)
    assert (first.code, first.out) == (0, f"{order_id} cancelled, now CANCELLED (customer)\n")
    assert "recorded as r:cancel:" in first.err
    again = await shop.terminal.run(*arguments, "--json")
    assert (again.code, json.loads(again.out)["status"]) == (0, "CANCELLED")
    late = await shop.terminal.run("order", "cancel", order_id, "--reason", "once more", "--key", "k-2")
    assert late.code == 1

    told = [re.sub(r" \(by .*\)$", "", line) for line in await interventions(shop, settings, order_id)]
    asked, answered = "cancel by an operator (r:cancel): ", "cancel by an operator (r:cancel:answer): "
    assert re.fullmatch(re.escape(f"{asked}fraud?; sent as c:") + "[-0-9a-f]{36}", told[0])
    assert told[1].startswith(f"{answered}Version conflict (412): ")
    assert told[2:6] == [
        f"{asked}called twice; sent as c:k-1",
        f"{answered}done: CANCELLED, version 2",
        f"{asked}called twice; sent as c:k-1",
        f"{answered}done: CANCELLED, version 2, as before: the same request had come",
    ]
    assert told[6] == f"{asked}once more; sent as c:k-2"
    assert told[7].startswith(f"{answered}Illegal transition (409): ")
    assert await shop.world.statuses(run_of(shop, order_id)) == ["DRAFT", "CANCELLED"]


async def test_a_cancel_that_cannot_be_recorded_is_not_sent(shop: Shop, tmp_path: Path) -> None:
    settings = shop.world.settings
    order_id = await placed(shop)
    nowhere = "postgresql://orders@127.0.0.1:9/orders"
    away = Terminal(tmp_path, api_url=shop.url, api_key=KEY_TEXT, orders_database_url=nowhere)
    assert (await away.run("order", "cancel", order_id, "--reason", "x")).code == 3
    assert (await shop.terminal.run("order", "cancel", order_id, "--reason", "\t")).code == 2
    assert (await shop.terminal.run("order", "cancel", NO_ORDER, "--reason", "x")).code == 4
    assert await interventions(shop, settings, NO_ORDER) == []
    assert await shop.world.statuses(run_of(shop, order_id)) == ["DRAFT"]


async def test_a_cancel_without_an_answer_is_recorded_as_that(shop: Shop) -> None:
    """The API takes it and dies before it answers."""
    settings = shop.world.settings
    order_id = await placed(shop)
    shown = await shop.terminal.run("order", "show", order_id, "--json")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if request.startswith(b"GET"):
            body = shown.out.encode()
            head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            head += f"x-correlation-id: c-1\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as dying:
        url = f"http://127.0.0.1:{dying.sockets[0].getsockname()[1]}"
        said = await shop.terminal.run("order", "cancel", order_id, "--reason", "x", "--api", url)
    assert said.code == 3, said.err
    told = await interventions(shop, settings, order_id)
    assert told[-1].startswith("cancel by an operator (r:cancel:answer): nobody knows whether it arrived: ")


async def test_what_is_not_there_ends_with_4(shop: Shop) -> None:
    for arguments in (
        *(("order", command, NO_ORDER) for command in ("show", "approve", "explain", "watch")),
        ("stock", "show", "nothing"),
        ("replay", NO_ORDER),
    ):
        said = await shop.terminal.run(*arguments, "--json")
        assert said.code == 4, (arguments, said)
        assert not said.out or json.loads(said.out)
