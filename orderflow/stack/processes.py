"""One supervised process: started, waited for until it is ready, restarted when it crashes, stopped.

It promises: every child is a process of ours with a known pid, in a session of its own (Ctrl-C in the terminal
reaches only the supervisor); its output goes to one log file; a child that cannot become ready ends as one
StackError with the end of that log; nothing is left running after ``stop``.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from orderflow.pauses import Backoff
from orderflow.stack.errors import StackError
from orderflow.stack.records import Identity

POLL_SECONDS = 0.05
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 10.0
#: A child that lived this long before it crashed starts again with the first backoff.
SOUND_SECONDS = 30.0
LOG_LIMIT_BYTES = 20_000_000
TAIL_LINES = 15

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class RunAs:
    """An unprivileged user for a child of root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Spec:
    """One process: what to run, how to see that it is ready, how to stop it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    ready: Probe
    #: Runs before every start, also before a restart after a crash.
    prepare: Callable[[], Awaitable[None]] | None = None
    run_as: RunAs | None = None
    ready_seconds: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 15.0


Kind = Literal["starting", "ready", "done", "crashed", "restarted", "still_down", "stopped", "killed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person at the terminal wants to know about a process."""

    process: str
    kind: Kind
    detail: str = ""


State = Literal["stopped", "starting", "ready", "frozen", "crashed"]


def ignore_event(_: Event) -> None:
    """The default of ``on_event``."""
    return


def ignore_change() -> None:
    """The default of ``on_change``."""
    return


class Process:
    """One supervised process. ``start``, ``stop``, ``kill`` and ``freeze`` are also what fault tests use."""

    def __init__(
        self,
        spec: Spec,
        log: Path,
        *,
        on_event: Callable[[Event], None] = ignore_event,
        on_change: Callable[[], None] = ignore_change,
    ) -> None:
        self.spec = spec
        self.log = log
        self.state: State = "stopped"
        self.identity: Identity | None = None
        self._on_event = on_event
        self._on_change = on_change
        self._child: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._log_offset = 0

    @property
    def name(self) -> str:
        """The name of its spec."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """The pid it has now. Raises StackError when it does not run."""
        if self.identity is None:
            raise StackError(f"{self.name} does not run")
        return self.identity.pid

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises StackError with the end of its log when it is not in time."""
        if self._watcher is not None:
            return
        self._say("starting")
        started = time.monotonic()
        try:
            child = await self._launch()
        except BaseException:
            await self._end(self.spec.stop_grace_seconds)
            self.state = "stopped"
            raise
        self._watcher = asyncio.create_task(self._watch(child), name=f"watch {self.name}")
        self._say("ready", f"{time.monotonic() - started:.1f} s")

    async def run_to_end(self) -> None:
        """Run it as a one-shot: it is expected to end, with exit code 0, within ``ready_seconds``."""
        self._say("starting")
        started = time.monotonic()
        try:
            child = await self._spawn()
            async with asyncio.timeout(self.spec.ready_seconds):
                code = await child.wait()
        except TimeoutError:
            raise StackError(
                self._with_tail(f"{self.name} did not end within {self.spec.ready_seconds:.0f} s")
            ) from None
        finally:
            await self._end(self.spec.stop_grace_seconds)
            self.state = "stopped"
        if code != 0:
            raise StackError(self._with_tail(f"{self.name} failed ({describe_exit(code)})"))
        self._say("done", f"{time.monotonic() - started:.1f} s")

    async def stop(self, *, grace_seconds: float | None = None) -> None:
        """Stop it and keep it down: its stop signal, then SIGKILL after its grace."""
        await self._unwatch()
        if self._child is not None:
            killed = await self._end(self.spec.stop_grace_seconds if grace_seconds is None else grace_seconds)
            self._say("killed" if killed else "stopped")
        self.state = "stopped"

    def hurry(self) -> None:
        """Do not wait for the grace of a stop that is under way."""
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()

    async def kill(self, *, restart: bool = True) -> None:
        """SIGKILL it, as a crash. With ``restart`` the supervisor sees a crash and starts it again."""
        child = self._child
        if child is None:
            raise StackError(f"{self.name} does not run")
        if not restart:
            await self._unwatch()
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        if not restart:
            self._forget()
            self.state = "stopped"

    def freeze(self) -> None:
        """SIGSTOP it and its children: it holds its sockets and answers nothing."""
        self._signal_tree(signal.SIGSTOP)
        self.state = "frozen"

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal_tree(signal.SIGCONT)
        self.state = "ready"

    async def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until it is (again) ready, as after ``kill``. Raises StackError when it is not in time."""
        deadline = time.monotonic() + seconds
        while self.state != "ready" or self._child is None or self._child.returncode is not None:
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} was not ready again within {seconds:.0f} s ({self.state})")
            await asyncio.sleep(POLL_SECONDS)

    def tail(self) -> str:
        """The last lines that it logged since its last start."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_offset)
                text = file.read()[-20_000:].decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.strip().splitlines()[-TAIL_LINES:])

    async def _launch(self) -> asyncio.subprocess.Process:
        self.state = "starting"
        if self.spec.prepare is not None:
            await self.spec.prepare()
        child = await self._spawn()
        if not await self._becomes_ready(child):
            raise StackError(self._with_tail(f"{self.name} was not ready within {self.spec.ready_seconds:.0f} s"))
        return child

    async def _relaunch(self) -> asyncio.subprocess.Process:
        """As ``_launch``, but patient: what lives may be waiting for others, and another restart would not help."""
        self.state = "starting"
        if self.spec.prepare is not None:
            await self.spec.prepare()
        child = await self._spawn()
        while not await self._becomes_ready(child):
            self._say("still_down", f"it runs, and is not ready after {self.spec.ready_seconds:.0f} s")
        return child

    async def _becomes_ready(self, child: asyncio.subprocess.Process) -> bool:
        """Whether it does within ``ready_seconds``. Raises StackError when it ends instead."""
        deadline = time.monotonic() + self.spec.ready_seconds
        while not await self._probe():
            if (code := child.returncode) is not None:
                self._forget()
                raise StackError(self._with_tail(f"{self.name} ended while it started ({describe_exit(code)})"))
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        self.state = "ready"
        return True

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(5):
                ready = await self.spec.ready()
        except TimeoutError:
            return False
        # Somebody else's server may answer on the port of a child that has just failed to bind it.
        return ready and self._child is not None and self._child.returncode is None

    async def _spawn(self) -> asyncio.subprocess.Process:
        spec = self.spec
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        run_as = spec.run_as
        with self.log.open("ab") as output:
            self._log_offset = output.tell()
            try:
                child = await asyncio.create_subprocess_exec(
                    *spec.argv,
                    env=dict(spec.env),
                    cwd=spec.cwd,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    umask=0o077,  # orders, payment tokens and passwords are in what they write
                    user=run_as.uid if run_as else None,
                    group=run_as.gid if run_as else None,
                    extra_groups=[] if run_as else None,
                )
            except OSError as error:
                raise StackError(f"{self.name} could not be started: {error}") from error
        self._child = child
        self.identity = Identity.of(child.pid)
        self._on_change()
        return child

    async def _watch(self, child: asyncio.subprocess.Process) -> None:
        backoff = Backoff(FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS)
        while True:
            launched = time.monotonic()
            code = await child.wait()
            self.state = "crashed"
            self._forget()
            end_group(child.pid)
            self._say("crashed", describe_exit(code))
            if time.monotonic() - launched > SOUND_SECONDS:
                backoff.reset()
            while True:
                await asyncio.sleep(backoff.next())
                try:
                    child = await self._relaunch()
                    break
                except Exception as error:  # whatever it is, it must not end the watch
                    await self._end(self.spec.stop_grace_seconds)
                    self.state = "crashed"
                    self._say("still_down", str(error))
            self._say("restarted")

    async def _unwatch(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _end(self, grace_seconds: float) -> bool:
        """End the child if it runs. True when it needed SIGKILL."""
        child = self._child
        if child is None:
            return False
        killed = False
        with contextlib.suppress(ProcessLookupError):
            if child.returncode is None:
                if self.state == "frozen":
                    self._signal_tree(signal.SIGCONT)
                child.send_signal(self.spec.stop_signal)
        try:
            async with asyncio.timeout(grace_seconds):
                await child.wait()
        except TimeoutError:
            killed = True
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        self._forget()
        end_group(child.pid)
        return killed

    def _forget(self) -> None:
        self._child = None
        self.identity = None
        self._on_change()

    def _signal_tree(self, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(number)

    def _with_tail(self, sentence: str) -> str:
        tail = self.tail()
        return f"{sentence}. The end of {self.log}:\n{tail}" if tail else f"{sentence}. It logged nothing."

    def _say(self, kind: Kind, detail: str = "") -> None:
        self._on_event(Event(self.name, kind, detail))


def end_group(leader: int) -> None:
    """Kill what a child that has ended left in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """An exit code in words: ``exit code 1``, ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
