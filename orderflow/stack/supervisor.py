"""Several processes: a group starts together, and the groups stop in reverse order. Nothing is left running."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from orderflow.stack.processes import Event, Process, Spec, ignore_change, ignore_event
from orderflow.stack.records import Left


@dataclass(slots=True)
class Supervisor:
    """Processes in groups: a group starts together, and the groups stop in reverse order."""

    logs: Path
    on_event: Callable[[Event], None] = ignore_event
    #: Called after every change of a pid, to record it.
    on_change: Callable[[], None] = ignore_change
    groups: list[list[Process]] = field(default_factory=list)

    @property
    def processes(self) -> dict[str, Process]:
        """All processes by name, in the order in which they were started."""
        return {process.name: process for group in self.groups for process in group}

    def left(self) -> tuple[Left, ...]:
        """The children that run now, as they are recorded."""
        return tuple(
            Left(p.name, p.identity, int(p.spec.stop_signal), p.spec.stop_grace_seconds, str(p.log))
            for p in self.processes.values()
            if p.identity is not None
        )

    async def start(self, *specs: Spec) -> None:
        """Start a group and wait until all of it is ready. Raises the first StackError; call ``stop`` then."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        group = [Process(s, self._log(s), on_event=self.on_event, on_change=self.on_change) for s in specs]
        self.groups.append(group)
        tasks = [asyncio.create_task(process.start()) for process in group]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def run(self, spec: Spec) -> None:
        """Run a process that ends by itself. Raises StackError with its output when it fails or takes too long."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = Process(spec, self._log(spec), on_event=self.on_event, on_change=self.on_change)
        self.groups.append([process])
        try:
            await process.run_to_end()
        finally:
            self.groups.remove([process])

    async def stop(self, *, grace_seconds: float | None = None) -> None:
        """Stop everything, the last group first."""
        while self.groups:
            await asyncio.gather(*(process.stop(grace_seconds=grace_seconds) for process in self.groups[-1]))
            self.groups.pop()
        self.on_change()

    def _log(self, spec: Spec) -> Path:
        return self.logs / f"{spec.name}.log"
