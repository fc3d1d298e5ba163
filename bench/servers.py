"""What a bench runs on: a stack in a folder of its own, embedded or strict, and what is started beside it."""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

from bench.results import GearName
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.stack.probes import http_answers
from orderflow.stack.processes import Event, Spec
from orderflow.stack.stack import EmbeddedStack, wipe
from orderflow.stack.supervisor import Supervisor
from tools.chaos.strict import strict_temporal

#: What is ours among the stack's processes.
OUR_PROCESSES: Final = ("api", "workers", "relay")
TEMPORAL_POSTGRES: Final = "temporal-postgres"
#: What is started beside it.
NAIVE_WORKER: Final = "naive worker"
FLOOR_WORKER: Final = "floor worker"


class Servers:
    """A stack that runs, and processes beside it."""

    def __init__(self, stack: EmbeddedStack, beside: Supervisor, more: Mapping[str, int]) -> None:
        self.stack = stack
        self.beside = beside
        self._more = more

    def pids(self, *names: str) -> dict[str, int]:
        """Those of these processes that there are; all, without names."""
        everything = {
            **{name: process.pid for name, process in self.stack.processes.items()},
            **self._more,
            **{name: process.pid for name, process in self.beside.processes.items()},
        }
        return {name: pid for name, pid in everything.items() if not names or name in names}

    async def start_worker(self, name: str, module: str, **environment: str) -> None:
        """Start the Temporal worker of a no-op side: ``python -m module``."""
        port = free_port(avoid=self.stack.ports.values())
        spec = Spec(
            name=name,
            argv=[sys.executable, "-P", "-m", module],
            env=self.stack.env | {"ORDERFLOW_HEALTH_PORT": str(port), **environment},
            cwd=self.stack.data_dir,
            ready=http_answers(port, "/health/ready"),
        )
        await self.beside.start(spec)


@contextlib.asynccontextmanager
async def servers(settings: Settings, gear: GearName, on_event: Callable[[Event], None]) -> AsyncIterator[Servers]:
    """Everything runs inside, nothing is left after.

    ``settings`` may steer the stack (pacing, split workers). ``on_event`` hears what happens to the processes.
    ``strict``: the Temporal server itself on a Postgres of its own, and Apache Kafka. Raises StackError.
    """
    async with contextlib.AsyncExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="orderflow-bench-")))
        # For root, Postgres runs as another user, which must be able to pass.
        os.chmod(folder, 0o711)  # noqa: S103
        more: dict[str, int] = {}
        if gear == "strict":
            settings = settings.model_copy(update={"stack_kafka": "apache"})
            temporal = await everything.enter_async_context(strict_temporal(folder, on_event))
            more = {name: process.pid for name, process in temporal.processes.items()}
        home = folder / "stack"
        everything.callback(_wipe, home)
        stack = EmbeddedStack(settings, home, ports="free", on_event=on_event)
        await everything.enter_async_context(stack)
        beside = Supervisor(folder / "logs", on_event=on_event)
        everything.push_async_callback(beside.stop)
        yield Servers(stack, beside, more)


def _wipe(home: Path) -> None:
    if home.exists():
        wipe(home)
