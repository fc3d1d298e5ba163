"""The gate can fail: changes that would stop running orders are seen, and a guarded one passes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow

from orderflow.domain.commands import Outcome
from tools.histories.golden import files, load, replay
from workflows.order_workflow import OrderWorkflow
from workflows.steps import StepOutcome

HAPPY = files("happy_path")[0]

Patch = pytest.MonkeyPatch
_run_step = OrderWorkflow._run_step
_secure = OrderWorkflow._secure


def _reserve_before_authorize(self: OrderWorkflow) -> None:
    """What ``_secure`` does, in the other order."""
    steps: list[tuple[str, Callable[[], Awaitable[StepOutcome]]]] = []
    self._run_step = lambda *step: steps.append(step)  # type: ignore[method-assign]
    _secure(self)
    del self._run_step
    for step in reversed(steps):
        self._run_step(*step)


def _two_steps_reordered(patch: Patch) -> None:
    patch.setattr(OrderWorkflow, "_secure", _reserve_before_authorize)


def _a_timer_more(patch: Patch) -> None:
    def secure(self: OrderWorkflow) -> None:
        self._cooling_off = asyncio.create_task(workflow.sleep(60))  # type: ignore[attr-defined]
        _secure(self)

    patch.setattr(OrderWorkflow, "_secure", secure)


def _a_step_less(patch: Patch) -> None:
    def run_step(self: OrderWorkflow, name: str, *call: Any) -> None:
        if name != "commit":
            _run_step(self, name, *call)

    patch.setattr(OrderWorkflow, "_run_step", run_step)


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

    patch.setattr(OrderWorkflow, "_adopt", adopt)


@pytest.mark.parametrize("change", [_two_steps_reordered, _a_timer_more, _a_step_less, _an_extra_transition])
async def test_a_change_of_what_a_workflow_does_is_seen(change: Callable[[Patch], None], monkeypatch: Patch) -> None:
    change(monkeypatch)
    with pytest.raises(workflow.NondeterminismError):
        await replay(load(HAPPY))


async def test_an_answer_that_cannot_be_read_any_more_is_seen(monkeypatch: Patch) -> None:
    _answers_that_cannot_be_read(monkeypatch)
    with pytest.raises(RuntimeError, match="validation error"):
        await replay(load(HAPPY))


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
async def test_a_guarded_change_leaves_every_recorded_order_as_it_was(path: Path, monkeypatch: Patch) -> None:
    """The worked example of docs/changing-workflows.md."""

    def secure(self: OrderWorkflow) -> None:
        if workflow.patched("reserve-first"):
            _reserve_before_authorize(self)
        else:
            _secure(self)

    monkeypatch.setattr(OrderWorkflow, "_secure", secure)
    await replay(load(path))
