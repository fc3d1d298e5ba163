"""One supervised process: what is promised about its start, its crashes and its end."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from orderflow.stack.errors import StackError
from orderflow.stack.processes import Event, Spec
from orderflow.stack.supervisor import Supervisor
from support.waiting import until

OBEYS = "import time; print('started', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {OBEYS}"
WITH_CHILD = f"import subprocess; subprocess.Popen(['sleep', '600']); {OBEYS}"


async def eventually(condition: Callable[[], bool], *, seconds: float) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, seconds=seconds)


class Stage:
    """A supervisor, what it said, and a way to make specs for small Python programs."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self.supervisor = Supervisor(folder / "logs", on_event=self.events.append)
        self.folder = folder

    def spec(self, name: str, program: str, *, ready_seconds: float = 20, stop_grace_seconds: float = 5) -> Spec:
        async def ready() -> bool:
            log = self.supervisor.logs / f"{name}.log"
            return log.exists() and "started" in self.supervisor.processes[name].tail()

        return Spec(
            name=name,
            argv=[sys.executable, "-c", program],
            env=dict(os.environ),
            cwd=self.folder,
            ready=ready,
            ready_seconds=ready_seconds,
            stop_grace_seconds=stop_grace_seconds,
        )

    def kinds(self, name: str) -> list[str]:
        return [event.kind for event in self.events if event.process == name]


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    await made.supervisor.stop(grace_seconds=0.5)


async def test_a_process_that_ends_while_it_starts_shows_the_end_of_its_log(stage: Stage) -> None:
    with pytest.raises(StackError, match=r"(?s)broken ended while it started \(exit code 3\).*no such database"):
        await stage.supervisor.start(stage.spec("broken", "print('no such database'); raise SystemExit(3)"))


async def test_a_process_that_never_becomes_ready_is_an_error_and_does_not_stay(stage: Stage) -> None:
    with pytest.raises(StackError, match="mute was not ready within 0 s"):
        await stage.supervisor.start(stage.spec("mute", "import time; time.sleep(600)", ready_seconds=0.3))
    assert stage.supervisor.left() == ()


async def test_one_failure_ends_the_start_of_a_group_at_once(stage: Stage) -> None:
    slow = stage.spec("slow", "import time; time.sleep(600)", ready_seconds=600)
    async with asyncio.timeout(30):
        with pytest.raises(StackError, match="broken"):
            await stage.supervisor.start(slow, stage.spec("broken", "raise SystemExit(3)"))
    assert stage.supervisor.left() == ()


async def test_a_crash_is_said_and_the_process_started_again(stage: Stage) -> None:
    await stage.supervisor.start(stage.spec("worker", OBEYS))
    process = stage.supervisor.processes["worker"]
    first = process.pid
    await process.kill()
    await process.wait_ready(20)
    assert process.pid != first
    assert stage.kinds("worker") == ["starting", "ready", "crashed", "restarted"]


async def test_a_process_that_crashes_again_and_again_is_tried_less_and_less_often(
    stage: Stage, tmp_path: Path
) -> None:
    fuse = tmp_path / "fuse"
    program = f"import os; os.path.exists({str(fuse)!r}) and exit(9); {OBEYS}"
    await stage.supervisor.start(stage.spec("worker", program))
    process = stage.supervisor.processes["worker"]
    fuse.touch()
    await process.kill()
    await eventually(lambda: stage.kinds("worker").count("still_down") >= 3, seconds=20)
    fuse.unlink()
    await process.wait_ready(20)
    assert stage.kinds("worker").count("crashed") == 1


async def test_a_restarted_process_that_lives_is_waited_for_and_not_ended(stage: Stage, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    waits = f"import os, time\nwhile os.path.exists({str(fuse)!r}): time.sleep(0.05)\n{OBEYS}"
    await stage.supervisor.start(stage.spec("worker", waits, ready_seconds=2))
    process = stage.supervisor.processes["worker"]
    fuse.touch()
    await process.kill()
    await eventually(lambda: "still_down" in stage.kinds("worker"), seconds=20)
    waiting = process.pid
    fuse.unlink()
    await process.wait_ready(20)
    assert process.pid == waiting


async def test_a_stopped_process_stays_down_until_it_is_started(stage: Stage) -> None:
    await stage.supervisor.start(stage.spec("worker", OBEYS))
    process = stage.supervisor.processes["worker"]
    pid = process.pid
    await process.stop()
    assert not psutil.pid_exists(pid)
    assert process.state == "stopped"
    await process.start()
    assert stage.kinds("worker") == ["starting", "ready", "stopped", "starting", "ready"]


async def test_who_ignores_the_stop_signal_is_killed_after_its_grace(stage: Stage) -> None:
    await stage.supervisor.start(stage.spec("stubborn", STUBBORN, stop_grace_seconds=0.3))
    pid = stage.supervisor.processes["stubborn"].pid
    await stage.supervisor.stop()
    assert not psutil.pid_exists(pid)
    assert stage.kinds("stubborn")[-1] == "killed"


async def test_a_frozen_process_and_its_children_stand_still_and_can_still_be_stopped(stage: Stage) -> None:
    await stage.supervisor.start(stage.spec("parent", WITH_CHILD))
    process = stage.supervisor.processes["parent"]
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    process.freeze()
    await eventually(lambda: all(one.status() == psutil.STATUS_STOPPED for one in tree), seconds=5)
    process.thaw()
    await eventually(lambda: all(one.status() != psutil.STATUS_STOPPED for one in tree), seconds=5)
    process.freeze()
    await process.stop()
    assert stage.kinds("parent")[-1] == "stopped"
    await eventually(lambda: not any(one.is_running() for one in tree), seconds=5)


async def test_groups_stop_in_reverse_order(stage: Stage) -> None:
    await stage.supervisor.start(stage.spec("server", OBEYS))
    await stage.supervisor.start(stage.spec("worker", OBEYS))
    await stage.supervisor.stop()
    assert [event.process for event in stage.events if event.kind == "stopped"] == ["worker", "server"]


async def test_a_one_shot_that_fails_shows_its_output(stage: Stage) -> None:
    with pytest.raises(StackError, match=r"(?s)setup failed \(exit code 1\).*topic differs"):
        await stage.supervisor.run(stage.spec("setup", "print('topic differs'); raise SystemExit(1)"))
    await stage.supervisor.run(stage.spec("setup", "print('done')"))
    assert stage.kinds("setup")[-1] == "done"


async def test_what_a_process_writes_is_for_its_owner_only(stage: Stage, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'made')!r}, 'w').close(); {OBEYS}"
    await stage.supervisor.start(stage.spec("writer", program))
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
