"""The gate can fail: changes that would stop running orders are seen, and a guarded one passes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.exceptions import ActivityError

from orderflow.domain.commands import Outcome
from tools.histories.golden import files, load, replay
from workflows.calls import Call
from workflows.order_workflow import OrderWorkflow
from workflows.steps import OrderRow

HAPPY = files("happy_path")[0]
HAPPY_FAR = files("happy_path_far")[0]

Patch = pytest.MonkeyPatch
_start = OrderWorkflow._start
_secure = OrderWorkflow._secure


def _reserve_before_authorize(self: OrderWorkflow, row: OrderRow) -> None:
    """What ``_secure`` does, in the other order."""
    steps: list[tuple[str, Call]] = []
    self._start = lambda *step: steps.append(step)  # type: ignore[method-assign]
    _secure(self, row)
    del self._start
    for step in reversed(steps):
        self._start(*step)


def _two_steps_reordered(patch: Patch) -> None:
    patch.setattr(OrderWorkflow, "_secure", _reserve_before_authorize)


def _a_timer_more(patch: Patch) -> None:
    def secure(self: OrderWorkflow, row: OrderRow) -> None:
        self._cooling_off = asyncio.create_task(workflow.sleep(60))  # type: ignore[attr-defined]
        _secure(self, row)

    patch.setattr(OrderWorkflow, "_secure", secure)


def _a_step_less(patch: Patch) -> None:
    def start(self: OrderWorkflow, name: str, call: Call) -> None:
        if name != "commit":
            _start(self, name, call)

    patch.setattr(OrderWorkflow, "_start", start)


def _steps_taken_where_the_setting_says(patch: Patch) -> None:
    """As if where they run were today's setting, not what the first look recorded."""
    patch.setattr(OrderWorkflow, "_near", property(lambda _: (), lambda _, value: None), raising=False)


def _an_extra_transition(patch: Patch) -> None:
    judge = OrderWorkflow._judge

    async def twice(self: OrderWorkflow) -> None:
        await judge(self)
        await judge(self)
        if self._status == "FULFILLING":
            await self._record("fulfil")

    patch.setattr(OrderWorkflow, "_judge", twice)


def _answers_that_cannot_be_read(patch: Patch) -> None:
    """As after a field of a recorded answer was renamed."""

    def adopt(self: OrderWorkflow, outcome: Outcome) -> None:
        Outcome.model_validate({"result": outcome.state})

    patch.setattr(OrderWorkflow, "_adopt_outcome", adopt)


CHANGES = (_two_steps_reordered, _a_timer_more, _a_step_less, _an_extra_transition)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        *((change, path) for change in CHANGES for path in (HAPPY, HAPPY_FAR)),
        (_steps_taken_where_the_setting_says, HAPPY),
    ],
)
async def test_a_change_of_what_a_workflow_does_is_seen(
    change: Callable[[Patch], None], path: Path, monkeypatch: Patch
) -> None:
    change(monkeypatch)
    # Where a recorded answer meets another step, it cannot be read.
    with pytest.raises((workflow.NondeterminismError, RuntimeError), match=r"Nondeterminism|not a Outcome"):
        await replay(load(path))


async def test_a_near_step_that_had_no_answer_is_replayed_as_it_failed(monkeypatch: Patch) -> None:
    """The SDK's marker keeps the bare cause: catching ActivityError alone would stop such orders for good."""
    monkeypatch.setattr("workflows.calls.FailureError", ActivityError)
    with pytest.raises(workflow.NondeterminismError):
        await replay(load(files("near_step_without_an_answer")[0]))


async def test_an_answer_that_cannot_be_read_any_more_is_seen(monkeypatch: Patch) -> None:
    _answers_that_cannot_be_read(monkeypatch)
    with pytest.raises(RuntimeError, match="validation error"):
        await replay(load(HAPPY))


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
async def test_a_guarded_change_leaves_every_recorded_order_as_it_was(path: Path, monkeypatch: Patch) -> None:
    """The worked example of docs/changing-workflows.md."""

    def secure(self: OrderWorkflow, row: OrderRow) -> None:
        if workflow.patched("reserve-first"):
            _reserve_before_authorize(self, row)
        else:
            _secure(self, row)

    monkeypatch.setattr(OrderWorkflow, "_secure", secure)
    await replay(load(path))
