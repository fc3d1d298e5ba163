"""One history, replayed in this thread, so that a debugger stops in the workflow's own lines."""

import inspect
import pdb
import sys
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter

from operations.replaying.replayer import Failed, failed, make_replayer
from orderflow.temporal.converter import DATA_CONVERTER
from workflows.order_workflow import OrderWorkflow


async def step_through(
    history: WorkflowHistory, converter: DataConverter = DATA_CONVERTER, *, stop_at_run: bool
) -> Failed | None:
    """Replay ``history``; None: it did what was recorded. ``stop_at_run``: pdb at the first line of ``run``."""
    if stop_at_run:
        _stop_at(OrderWorkflow.run)
    try:
        result = await make_replayer(converter=converter, debug=True).replay_workflow(
            history, raise_on_replay_failure=False
        )
    finally:
        sys.settrace(None)
    if result.replay_failure is None:
        return None
    return await failed(history, result.replay_failure, converter)


def _stop_at(function: Any) -> None:
    """A breakpoint at the first line of ``function``'s body, which traces nothing else until then."""
    file = inspect.getsourcefile(function)
    lines, first = inspect.getsourcelines(function)
    code = function.__code__
    body = min(line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno)
    if file is None or not lines or first > body:
        raise RuntimeError("the workflow's source is not there")
    debugger = pdb.Pdb(nosigint=True)
    debugger.set_break(file, body, temporary=True)
    debugger.reset()

    def wait_for_it(frame: Any, event: str, argument: object) -> Any:
        # Nothing but the function itself is traced before: pdb would stop in every frame it has never seen.
        if event == "call" and frame.f_code is code:
            sys.settrace(debugger.trace_dispatch)
            debugger.botframe = frame.f_back
            debugger.set_continue()
            sys.settrace(debugger.trace_dispatch)
            return debugger.trace_dispatch(frame, event, argument)
        return None

    sys.settrace(wait_for_it)
