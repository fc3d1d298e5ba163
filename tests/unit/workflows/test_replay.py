"""The replay gate: today's workflow does, on every recorded history, what it did when it was recorded.

When one of these fails, orders that run now would stop at their next step: docs/changing-workflows.md.
"""

import base64
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.histories.golden import files, load, recorded_steps, replay, scenario_of
from tools.histories.scenarios import SCENARIOS
from workflows.steps import InventorySteps, OrderSteps, PaymentSteps

HISTORIES = files()


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_order_replays(path: Path) -> None:
    await replay(load(path))


def test_every_scenario_is_recorded_and_every_history_has_its_scenario() -> None:
    """`make histories` records what is missing. A history whose scenario is gone may still be an order's life."""
    assert {scenario_of(path) for path in HISTORIES} == set(SCENARIOS)


def test_every_step_is_in_some_history() -> None:
    steps = {
        name
        for contract in (OrderSteps, PaymentSteps, InventorySteps)
        for name, method in inspect.getmembers(contract, inspect.isfunction)
        if getattr(method, "__isabstractmethod__", False)
    }
    assert steps <= {step for path in HISTORIES for step in recorded_steps(load(path))}


@pytest.mark.parametrize(
    "event",
    [
        "TIMER_FIRED",
        "TIMER_CANCELED",  # a run of many looks that began anew later
        "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "WORKFLOW_EXECUTION_CONTINUED_AS_NEW",
        "WORKFLOW_EXECUTION_TERMINATED",
        "WORKFLOW_TASK_FAILED",  # what a reset leaves
        "WORKFLOW_TASK_TIMED_OUT",
    ],
)
def test_what_rarely_happens_is_in_some_history(event: str) -> None:
    assert any(f'"EVENT_TYPE_{event}"' in path.read_text() for path in HISTORIES)


def test_a_transition_that_waited_for_its_database_is_in_some_history() -> None:
    """Beyond the local retry threshold its waiting is a marker with a backoff, and a timer."""
    assert any('"backoff":{' in text for path in HISTORIES for text in _payloads(json.loads(path.read_text())))


def test_a_history_names_no_machine_and_no_payment_token() -> None:
    named = set()
    for path in HISTORIES:
        text = path.read_text()
        content = "\n".join([text, *_payloads(json.loads(text))])
        found = re.findall("stackTrace", text)
        found += set(re.findall(r'"identity":"([^"]*)"', text)) - {"recorder"}
        found += re.findall(r"/(?:home|root|tmp|usr|var|Users|work)/[^\"\s]*", content)
        found += re.findall(r"tok_\w+", content)
        named |= {(path.name, one) for one in found}
    assert named == set()


def _payloads(part: Any) -> Iterator[str]:
    """What the payloads below ``part`` say."""
    if isinstance(part, dict):
        if isinstance(part.get("data"), str) and "metadata" in part:
            yield base64.b64decode(part["data"]).decode(errors="replace")
        for value in part.values():
            yield from _payloads(value)
    elif isinstance(part, list):
        for value in part:
            yield from _payloads(value)
