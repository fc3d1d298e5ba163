"""The demo's plan, its follower on the stream, and its figures."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo import DECLINE_RATE
from operations.bulk.csv_files import read_baskets
from operations.demo.evidence import Evidence
from operations.demo.follower import Follower
from operations.demo.measure import measure, percentile
from operations.demo.plan import Intent, PlannedOrder, make_plan
from operations.demo.run import PAYMENT_TOKEN, Story
from operations.development_keys import principal_of
from orderflow.domain.access import ROLES, Principal
from orderflow.domain.commands import client_order_id
from orderflow.gateways.simulator.decisions import Decisions, behaviour_of
from support.evidence import COMPLETED, DECLINED, WAITING, sound_evidence
from support.paths import ROOT

BASKETS = read_baskets(ROOT / "samples" / "baskets.csv", "USD")


@given(st.integers(min_value=10, max_value=700))
def test_a_plan_has_every_kind_of_order(orders: int) -> None:
    plan = make_plan(BASKETS, orders, "1")
    everything = plan.idle + plan.crowd
    assert plan == make_plan(BASKETS, orders, "1")
    assert len({order.key for order in everything}) == orders
    intents = [order.intent for order in everything]
    assert {Intent.CANCEL_DRAFT, Intent.CANCEL_FULFILLING} <= set(intents)
    assert intents.count(Intent.COMPLETE) > orders / 2
    # Orders that are measured alone want nothing that is missing.
    wanted: dict[str, list[int]] = {}
    for order in plan.crowd:
        for sku, quantity, _ in order.basket.lines:
            wanted.setdefault(sku, []).append(quantity)
    troubled = {*plan.scarce, *plan.unstocked}
    assert troubled.isdisjoint(sku for order in plan.idle for sku, _, _ in order.basket.lines)
    for sku in plan.scarce:
        assert max(wanted[sku]) <= plan.stock[sku] < sum(wanted[sku])
    assert set(plan.unstocked).isdisjoint(plan.stock)
    assert len(plan.unstocked) <= 2
    for sku in wanted.keys() - troubled:
        assert plan.stock[sku] >= sum(wanted[sku])
    for order in everything:
        if order.intent is not Intent.COMPLETE:
            assert troubled.isdisjoint(sku for sku, _, _ in order.basket.lines)


def test_the_usual_demo_runs_out_of_some_stock_and_lacks_two_skus() -> None:
    plan = make_plan(BASKETS, 240, "1")
    assert (len(plan.idle), len(plan.crowd), len(plan.scarce), len(plan.unstocked)) == (20, 220, 4, 2)


@pytest.mark.parametrize("orders", [30, 240])
def test_what_is_to_fail_or_to_be_cancelled_is_not_declined_instead(orders: int) -> None:
    plan = make_plan(BASKETS, orders, "1")
    merchant = Principal(str(principal_of("merchant")), "api_key", ROLES["merchant"])
    decisions = Decisions(seed=1, decline_rate=DECLINE_RATE)

    def declined(order: PlannedOrder) -> bool:
        reference = str(client_order_id(merchant, order.key))
        return decisions.decline_reason(behaviour_of(PAYMENT_TOKEN), reference) is not None

    troubled = {*plan.scarce, *plan.unstocked}
    telling = [
        order
        for order in plan.crowd
        if order.intent is not Intent.COMPLETE or not troubled.isdisjoint(sku for sku, _, _ in order.basket.lines)
    ]
    assert len(telling) >= 6
    assert not any(map(declined, telling))
    assert any(map(declined, plan.crowd))


async def test_the_watch_hears_of_an_order_once_it_is_decided() -> None:
    follower = Follower()
    waiting = asyncio.create_task(follower.until(COMPLETED, {"FULFILLING", "CANCELLED"}, seconds=10))
    for seen in sound_evidence().stream[:3]:
        assert not waiting.done()
        follower.take([seen])
        await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 5) == "FULFILLING"


async def test_an_older_event_changes_nothing() -> None:
    follower, stream = Follower(), sound_evidence().stream
    follower.take(stream[::-1])
    assert follower.statuses == {COMPLETED: "COMPLETED", DECLINED: "CANCELLED", WAITING: "FULFILLING"}
    assert follower.records == len(stream)
    with pytest.raises(TimeoutError):
        await follower.until(WAITING, {"CANCELLED"}, seconds=0.01)


def test_the_watch_counts_what_it_cannot_read() -> None:
    follower, stream = Follower(), sound_evidence().stream
    follower.take([replace(stream[0], envelope=None)])
    assert (follower.records, follower.statuses) == (1, {})


def test_the_watch_leaves_out_what_happened_before() -> None:
    stream = sound_evidence().stream
    last = max(seen.envelope.recorded_at for seen in stream if seen.envelope)
    follower = Follower(since=last)
    follower.take(stream)
    assert (follower.records, follower.statuses) == (1, {COMPLETED: "COMPLETED"})


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 21)]
    assert [percentile(values, share) for share in (0.5, 0.95, 1.0)] == [10.0, 19.0, 20.0]
    assert percentile([7.0], 0.95) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_at_least_that_share_does_not_exceed_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert found in values


def test_figures_count_from_the_request_and_from_the_events() -> None:
    evidence = sound_evidence()
    sent = at(evidence, "APPROVED") - 0.020
    idle = Story(WAITING, Intent.COMPLETE, sent - 1, sent, at(evidence, "FULFILLING") + 0.005, True, sent + 2)
    declined = Story(DECLINED, Intent.COMPLETE, sent, sent, sent + 1, False, sent + 3)
    figures = measure(evidence, [idle], [declined])
    assert figures.idle.seen
    assert figures.idle.recorded
    assert figures.idle.inside
    assert (figures.idle.inside.p50, figures.idle.recorded.p50, figures.idle.seen.p50) == (1000.0, 1020.0, 1025.0)
    assert figures.crowd.seen is None
    assert figures.crowd_seconds == pytest.approx(3)
    assert figures.orders_per_second == pytest.approx(1 / 3)
    assert figures.by_status == {
        ("COMPLETED", None): 1,
        ("FULFILLING", None): 1,
        ("CANCELLED", "payment_declined"): 1,
    }


def at(evidence: Evidence, status: str) -> float:
    return next(
        e.recorded_at.timestamp()
        for (s, o, _), e in evidence.events.items()
        if (o, e.status) == (WAITING, status) and s == "orders"
    )
