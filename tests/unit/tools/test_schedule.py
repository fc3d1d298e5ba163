"""The same seed gives the same storm and the same customers."""

import pytest

from support.paths import ROOT
from tools.chaos.plan import FATES, order_plans, read_baskets, stock_plans
from tools.chaos.schedule import kinds, schedule

BASKETS = read_baskets(ROOT / "samples")


@pytest.mark.parametrize("strict", [False, True])
def test_the_same_seed_gives_the_same_schedule(strict: bool) -> None:
    assert schedule(7, 1000, 100, strict=strict) == schedule(7, 1000, 100, strict=strict)
    assert schedule(7, 1000, 100, strict=strict) != schedule(8, 1000, 100, strict=strict)


def test_a_seed_means_the_same_next_year() -> None:
    first = [fault.line() for fault in schedule(1, 1000, 100, strict=False)[:2]]
    assert first == [
        "   0  after     0 orders  kill consumer                    consumer",
        "   1  after    10 orders  kill postgres                    postgres",
    ]


def test_the_same_seed_gives_the_same_customers() -> None:
    assert order_plans(7, 200, BASKETS) == order_plans(7, 200, BASKETS)
    assert order_plans(7, 200, BASKETS) != order_plans(8, 200, BASKETS)
    assert stock_plans(7, 200) == stock_plans(7, 200)


@pytest.mark.parametrize("strict", [False, True])
def test_every_kind_of_fault_happens_and_ends(strict: bool) -> None:
    there = {kind.name for kind in kinds(strict=strict)}
    storm = schedule(1, 1000, 100, strict=strict)
    assert {fault.kind for fault in storm} == there
    assert len(there) >= 12
    assert all(0 <= fault.seconds < 20 for fault in storm if fault.kind != "temporal is away")
    assert [fault.after_orders for fault in storm] == sorted(fault.after_orders for fault in storm)


def test_only_the_strict_gear_kills_the_broker() -> None:
    assert "kill kafka" not in {kind.name for kind in kinds(strict=False)}
    assert "kill kafka" in {kind.name for kind in kinds(strict=True)}


def test_both_gears_have_strangers_clocks_locks_hands_and_a_topic_made_anew() -> None:
    new = {"foreign records", "lease from another time", "handovers from another time", "read-only failover"}
    new |= {"lock time-outs", "pause steps", "answer steps with garbage", "make the topic anew"}
    for strict in (False, True):
        assert new <= {kind.name for kind in kinds(strict=strict)}


def test_a_schedule_may_be_of_some_kinds_only() -> None:
    storm = schedule(1, 100, 20, strict=False, only="another time")
    assert {fault.kind for fault in storm} == {"lease from another time", "handovers from another time"}
    with pytest.raises(ValueError, match="no kind of fault has 'earthquake' in its name: kill api, "):
        schedule(1, 100, 20, strict=False, only="earthquake")


def test_a_short_run_sees_every_fate() -> None:
    assert {plan.fate for plan in order_plans(1, len(FATES), BASKETS)} == set(FATES)
