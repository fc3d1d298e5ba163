"""`orderflow replay` and `orderflow debug` on the orders of a whole stack."""

import json
from pathlib import Path

import pytest

from support.explaining import explains, reordered
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until

pytestmark = pytest.mark.timeout(180)


def with_code(terminal: Terminal, folder: Path) -> Terminal:
    terminal.env["PYTHONPATH"] = f"{folder}:{terminal.env['PYTHONPATH']}"
    # Otherwise the working directory's packages would come first: `python -m` puts it there.
    terminal.env["PYTHONSAFEPATH"] = "1"
    return terminal


async def test_replay_repeats_closed_and_open_orders(terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    await shop.stock_up(baskets[:1])
    closed, opened = await shop.place(baskets[0]), await shop.place(baskets[0])
    for order_id in (closed, opened):
        await shop.ask(order_id, "approve")
        await shop.reaches(order_id, "FULFILLING")
    await shop.ask(closed, "cancel")
    await explains(terminal, closed, "done")
    for which in (("--since", "1h"), ("--query", "WorkflowType = 'OrderWorkflow'")):

        async def all_replayed(which: tuple[str, str] = which) -> bool:  # visibility comes a moment later
            said = await terminal.run("replay", *which, "--json")
            document = json.loads(said.out)
            assert (said.code, document["failed"]) == (0, 0)
            return bool(document["replayed"] >= 2 and document["per_second"] > 0)

        await until(all_replayed, seconds=20, every=0.5)
    for order_id in (closed, opened):
        assert "1 history" in (await terminal.run("replay", order_id)).out
        assert "replayed" in (await terminal.run("debug", order_id)).out
    assert (await terminal.run("replay", "--since", "0s")).code == 1
    assert (await terminal.run("replay", "--query", "nonsense")).code == 1
    assert (await terminal.run("replay", "--since", "soon")).code == 2
    assert (await terminal.run("replay")).code == 2

    said = await with_code(terminal, reordered(terminal.home / "code")).run("replay", closed, "--json")
    [failure] = json.loads(said.out)["failures"]
    assert said.code == 1
    # Near steps are recorded as they end, and the one that ended first is met by the other.
    steps = {"authorize_payment", "reserve_inventory"}
    event, recorded = failure["recorded"].split()
    assert (event, recorded in steps) == ("MARKER_RECORDED", True)
    assert failure["wanted"].split()[-1] in steps - {recorded}
    assert isinstance(failure["event_id"], int)
    assert failure["workflow_id"] == f"order-{closed}"
