"""The golden histories: where they are, what they are called, and how one is replayed.

``<scenario>-<number>.json`` is one run, in the form that ``temporal workflow show --output json`` gives. A scenario
has several where its order had several runs, and after every change that was recorded again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import Parse
from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHistory

from operations.replaying.replayer import make_replayer
from orderflow.temporal.converter import DATA_CONVERTER
from workflows.order_workflow import OrderWorkflow

FOLDER: Final = Path(__file__).resolve().parents[2] / "tests" / "histories"


def files(scenario: str = "*") -> list[Path]:
    """The histories of one scenario, or of all, oldest first."""
    return sorted(FOLDER.glob(f"{scenario}-*.json"), key=lambda path: (scenario_of(path), number_of(path)))


def scenario_of(path: Path) -> str:
    """The scenario whose history ``path`` is."""
    return path.stem.rpartition("-")[0]


def number_of(path: Path) -> int:
    """Which of its scenario's histories ``path`` is."""
    return int(path.stem.rpartition("-")[2])


def load(path: Path) -> WorkflowHistory:
    """A history, as the Replayer takes it."""
    return of_events(Parse(path.read_text(), History()))


def of_events(history: History) -> WorkflowHistory:
    """The same, from its events: the first one names the workflow."""
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(workflow_id=started.workflow_id, events=list(history.events))


async def replay(history: WorkflowHistory, workflow: type[Any] = OrderWorkflow) -> None:
    """Run the workflow's code against a history, without a server or a step.

    Raises temporalio.workflow.NondeterminismError, or whatever else the code does with what is recorded.
    """
    await make_replayer([workflow]).replay_workflow(history)


def recorded_steps(history: WorkflowHistory) -> Iterator[str]:
    """The names of the steps, local ones too, that a history has an answer of or a call to."""
    for event in history.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            yield event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.HasField("marker_recorded_event_attributes"):
            for payloads in event.marker_recorded_event_attributes.details.values():
                for payload in payloads.payloads:
                    answer = DATA_CONVERTER.payload_converter.from_payload(payload)
                    if isinstance(answer, dict) and "activity_type" in answer:
                        yield answer["activity_type"]
