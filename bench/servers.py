"""What a bench runs on: the embedded stack in a folder of its own, and the naive worker beside it."""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bench.measure import CpuMeter, Side
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.stack.probes import http_answers
from orderflow.stack.processes import Event, Spec
from orderflow.stack.stack import EmbeddedStack, wipe
from orderflow.stack.supervisor import Supervisor

NAIVE_WORKER = "naive worker"


@contextlib.asynccontextmanager
async def servers(
    settings: Settings, on_event: Callable[[Event], None]
) -> AsyncIterator[tuple[Settings, dict[Side, CpuMeter]]]:
    """Everything runs inside, nothing is left after: settings that lead there, and a meter for each side.

    ``settings`` may steer the stack (broker, pacing, split workers). ``on_event`` hears what happens to the processes.
    Raises StackError.
    """
    with tempfile.TemporaryDirectory(prefix="orderflow-bench-") as folder:
        # For root, Postgres runs as another user, which must be able to pass.
        os.chmod(folder, 0o711)  # noqa: S103
        home = Path(folder) / "stack"
        supervisor = Supervisor(Path(folder) / "logs", on_event=on_event)
        stack = EmbeddedStack(settings, home, ports="free", on_event=on_event)
        try:
            async with stack:
                await supervisor.start(_naive_worker(stack))
                pids = {name: process.pid for name, process in stack.processes.items()}
                naive = {"temporal": pids["temporal"], NAIVE_WORKER: supervisor.processes[NAIVE_WORKER].pid}
                yield stack.settings, {"ours": CpuMeter(pids), "naive": CpuMeter(naive)}
        finally:
            await supervisor.stop()
            if home.exists():
                wipe(home)


def _naive_worker(stack: EmbeddedStack) -> Spec:
    port = free_port(avoid=stack.ports.values())
    return Spec(
        name=NAIVE_WORKER,
        argv=[sys.executable, "-P", "-m", "bench.naive"],
        env=stack.env | {"ORDERFLOW_HEALTH_PORT": str(port)},
        cwd=stack.data_dir,
        ready=http_answers(port, "/health/ready"),
    )
