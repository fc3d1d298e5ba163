"""The stack of a data dir, seen from another process: is it up, what runs, stop it."""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orderflow.stack.errors import StackError
from orderflow.stack.records import Record, exclusive, stop_left
from orderflow.stack.stack import RECORD

#: Above every process's own grace.
DOWN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """One recorded process. ``frozen``: somebody has stopped it (SIGSTOP): it lives, and does nothing."""

    name: str
    pid: int
    alive: bool
    frozen: bool
    seconds: float
    memory_bytes: int
    link: str
    log: str


@dataclass(frozen=True, slots=True)
class Status:
    """``phase``: starting, running, stopping, stopped, or killed (the supervisor died and left processes)."""

    phase: str
    supervisor_pid: int | None
    processes: tuple[Running, ...]

    @property
    def running(self) -> bool:
        """Whether a supervisor holds the stack."""
        return self.phase in ("starting", "running", "stopping")

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        names = Running.__dataclass_fields__
        processes = [{name: getattr(process, name) for name in names} for process in self.processes]
        return {"phase": self.phase, "supervisor_pid": self.supervisor_pid, "processes": processes}


def status(data_dir: Path) -> Status:
    """What runs from ``data_dir`` now."""
    record = Record.read(data_dir / RECORD)
    children = []
    for child in record.children:
        process = child.identity.process()
        memory, frozen = 0, False
        if process is not None:
            with contextlib.suppress(psutil.Error):
                frozen = process.status() == psutil.STATUS_STOPPED
                memory = sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
        children.append(
            Running(
                name=child.name,
                pid=child.identity.pid,
                alive=process is not None,
                frozen=frozen,
                seconds=round(max(0.0, time.time() - child.identity.started_at), 1),
                memory_bytes=memory,
                link=record.links.get(child.name, ""),
                log=child.log,
            )
        )
    if record.running and record.supervisor is not None:
        return Status(record.phase, record.supervisor.pid, tuple(children))
    return Status("killed" if any(child.alive for child in children) else "stopped", None, tuple(children))


async def down(data_dir: Path) -> list[str]:
    """Stop the stack of ``data_dir``: by its supervisor, or, where that was killed, what it left.

    Returns the names of the processes that ran. Raises StackError when it does not stop.
    """
    record = Record.read(data_dir / RECORD)
    names = [child.name for child in record.children if child.identity.process() is not None]
    supervisor = record.supervisor.process() if record.supervisor else None
    if record.supervisor is not None and supervisor is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DOWN_SECONDS
        while record.supervisor.process() is not None and Record.read(data_dir / RECORD).running:
            if time.monotonic() > deadline:
                raise StackError(f"the supervisor (pid {supervisor.pid}) does not stop; kill it and say down again")
            await asyncio.sleep(0.1)
        return names
    if names:
        with exclusive(data_dir / "lock", f"another process works in {data_dir}: try again"):
            await stop_left(record.children)
    return names
