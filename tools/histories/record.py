"""``make histories``: play scenarios on servers of their own, and keep their histories.

Without arguments those scenarios that have no history yet; with names, or ``--all``, these again. A history is never
overwritten: the new one gets the next number beside the old, because orders that began under the old code may still
be running (docs/changing-workflows.md).
"""

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.json_format import Parse
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHistory

from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.stack.supervisor import Supervisor
from orderflow.stack.temporal import TemporalServer
from orderflow.temporal.converter import DATA_CONVERTER
from support.stack import PostgresServer, postgres_server, session_folder
from support.waiting import until
from support.world import a_world
from tools.histories.golden import FOLDER, files, number_of, of_events, replay
from tools.histories.scenarios import SCENARIOS, Scenario
from tools.histories.stage import Stage

#: What stands for the machine and process that recorded.
IDENTITY = "recorder"


class Recorder:
    """Servers, and how to play a scenario on them."""

    def __init__(self, folder: Path, postgres: PostgresServer, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._postgres = postgres
        self._stack = stack
        self._servers: dict[int | None, str] = {}

    async def record(self, name: str, scenario: Scenario) -> list[Path]:
        """Play it; the files, one a run."""
        address = await self._temporal(scenario.continue_after)
        client = await Client.connect(address, identity=IDENTITY, data_converter=DATA_CONVERTER)
        databases = await self._postgres.fresh_databases()
        settings = Settings(worker_graceful_shutdown_seconds=1, steps=scenario.steps)
        try:
            async with a_world(client, databases, settings) as world:
                await world.stock(bread=10, milk=1)
                stage = Stage(world, databases, address)
                await scenario.play(stage)
                runs = [run for workflow_id in dict.fromkeys(stage.started) for run in await _runs(client, workflow_id)]
        finally:
            await self._postgres.drop(databases)
        return [await _keep(name, run) for run in runs]

    async def _temporal(self, continue_after: int | None) -> str:
        if continue_after not in self._servers:
            home = self._folder / f"temporal-{continue_after}"
            home.mkdir()
            supervisor = Supervisor(home / "logs")
            self._stack.push_async_callback(supervisor.stop)
            server = TemporalServer(home, free_port(), None, in_memory=True)
            spec = server.spec()
            if continue_after is not None:
                limit = f"limit.historyCount.suggestContinueAsNew={continue_after}"
                spec = replace(spec, argv=[*spec.argv, "--dynamic-config-value", limit])
            await supervisor.start(spec)
            self._servers[continue_after] = server.address
        return self._servers[continue_after]


async def _runs(client: Client, workflow_id: str) -> list[dict[str, Any]]:
    """The histories of all runs of a workflow, the first one first: also those that were terminated, or reset."""
    latest = (await client.get_workflow_handle(workflow_id).describe()).run_id
    found: list[WorkflowExecution] = []

    async def listed() -> bool:
        found[:] = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        closed = {run.run_id for run in found if run.status != WorkflowExecutionStatus.RUNNING}
        return latest in closed and len(closed) == len(found)

    await until(listed, seconds=30, every=0.1)
    histories = []
    for run in sorted(found, key=lambda run: run.start_time):
        history = await client.get_workflow_handle(workflow_id, run_id=run.run_id).fetch_history()
        histories.append(_scrubbed(history.to_json_dict()))
    return histories


#: Replay reads none of these, and a stack trace names a machine's paths.
_LEFT_OUT = ("stackTrace", "taskId", "requestId", "workerVersion", "meteringMetadata")


def _scrubbed(part: Any) -> Any:
    """Without what replay does not read, and with nobody's name."""
    if isinstance(part, dict):
        return {
            key: IDENTITY if key == "identity" else _scrubbed(value)
            for key, value in part.items()
            if key not in _LEFT_OUT
        }
    return [_scrubbed(value) for value in part] if isinstance(part, list) else part


def _parsed(text: str) -> WorkflowHistory:
    return of_events(Parse(text, History()))


async def _keep(scenario: str, history: dict[str, Any]) -> Path:
    number = max((number_of(path) for path in files(scenario)), default=0) + 1
    path = FOLDER / f"{scenario}-{number}.json"
    text = '{"events":[\n' + ",\n".join(json.dumps(e, separators=(",", ":")) for e in history["events"]) + "\n]}\n"
    await replay(_parsed(text))
    path.write_text(text)
    return path


async def _main(names: list[str]) -> None:
    async with session_folder() as folder, postgres_server(folder) as postgres, AsyncExitStack() as stack:
        recorder = Recorder(folder, postgres, stack)
        for name in names:
            for path in await recorder.record(name, SCENARIOS[name]):
                sys.stdout.write(f"{path.relative_to(Path.cwd())} ({path.stat().st_size} bytes)\n")
                sys.stdout.flush()


def main() -> None:
    """Read the command line, and record."""
    parser = argparse.ArgumentParser(prog="make histories", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="record these again")
    parser.add_argument("--all", action="store_true", help="record all again")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    names = list(SCENARIOS) if arguments.all else arguments.scenarios
    asyncio.run(_main(names or [name for name in SCENARIOS if not files(name)]))


if __name__ == "__main__":
    main()
