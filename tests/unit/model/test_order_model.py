"""The row first, then the workflow looks: what docs/guarantees.md promises holds in every world that is seen.

A model of one order, without a server. ``python -m unit.model`` searches it whole (see ``__main__.py``). Where it
finds something, the trace is the shortest: the moves one after the other, from the scenario's beginning.
"""

import pytest

from unit.model.planted import PLANTED, Planted
from unit.model.rules import ORDERS, PAYMENTS, RESERVATIONS, Rules
from unit.model.scenarios import EVERYTHING, SCENARIOS, Scenario
from unit.model.search import explore, walk

#: The nearest worlds of each scenario: some are seen whole.
WORLDS = 8_000
#: Random ways through everything at once.
WALKS = 500
#: As far as the planted bugs are looked for.
FAR_ENOUGH = 40_000


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda it: it.name)
def test_nothing_that_may_happen_breaks_a_promise(scenario: Scenario) -> None:
    report = explore(scenario, Rules(), WORLDS)
    assert not report.violations, str(report)


def test_random_lives_break_no_promise_and_come_to_every_status() -> None:
    report = walk(EVERYTHING, Rules(), WALKS, seed=20261129)
    assert not report.violations, str(report)
    assert report.statuses >= {*ORDERS.statuses, *PAYMENTS.statuses, *RESERVATIONS.statuses}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda it: it.rules.__name__)
def test_a_planted_bug_breaks_its_invariant(planted: Planted) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == planted.scenario)
    report = explore(scenario, planted.rules(), FAR_ENOUGH, until=planted.breaks)
    assert planted.breaks in report.violations, str(report)
