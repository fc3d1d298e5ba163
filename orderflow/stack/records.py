"""Which processes are ours: pids with their start times, on disk, so that another process can find them.

A pid alone says nothing after a reboot or a long while, so a process is known by pid and start time together.
The file survives a supervisor that was killed: the next one finds what was left behind, and stops it.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from orderflow.stack.errors import StackError

#: psutil computes start times from the boot time, which moves a little when the clock is corrected.
START_TIME_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process: its pid, and when it started (seconds since the epoch)."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Who runs under ``pid`` now, or None."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """The living process, or None when it has ended (a zombie has ended)."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started_at) < START_TIME_TOLERANCE_SECONDS
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True, slots=True)
class Left:
    """A child as recorded: its identity, and how it wants to be stopped."""

    name: str
    identity: Identity
    stop_signal: int = signal.SIGTERM
    stop_grace_seconds: float = 15.0
    log: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What ``stack.json`` holds. ``ports`` and ``links`` stay after a stop, for the next start and for people."""

    supervisor: Identity | None = None
    phase: str = "stopped"
    children: tuple[Left, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether the recorded supervisor lives."""
        return self.supervisor is not None and self.supervisor.process() is not None

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record at ``path``; an empty one when there is none or it is not readable as one."""
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            supervisor = found["supervisor"]
            return cls(
                supervisor=Identity(**supervisor) if supervisor else None,
                phase=found["phase"],
                children=tuple(Left(**{**c, "identity": Identity(**c["identity"])}) for c in found["children"]),
                ports=found["ports"],
                links=found["links"],
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        """Replace the file at ``path`` in one step, readable by its owner only."""
        write_private(path, json.dumps(asdict(self), indent=2))


def write_private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step, mode 0600 from the first byte."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


async def stop_left(children: Iterable[Left]) -> list[str]:
    """Stop recorded processes that still live, last started first. Returns the names of those that did."""
    stopped = []
    for child in reversed(tuple(children)):
        process = child.identity.process()
        if process is None:
            continue
        stopped.append(child.name)
        descendants = [Identity(p.pid, p.create_time()) for p in process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
            process.send_signal(child.stop_signal)
        if not await _gone(child.identity, child.stop_grace_seconds):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            await _gone(child.identity, 5)
        for descendant in descendants:
            if not await _gone(descendant, 1) and (left := descendant.process()) is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
    return stopped


async def _gone(identity: Identity, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while identity.process() is not None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


@contextlib.contextmanager
def exclusive(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file at ``path``, or raise StackError(``otherwise``) at once when another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(otherwise) from None
        yield
    finally:
        os.close(descriptor)
