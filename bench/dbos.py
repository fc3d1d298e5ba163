"""DBOS Transact from PyPI, measured only when asked for: in an environment of its own, beside the product's.

Its database is one of its own on the stack's Postgres. ``bench/dbos_app.py`` is the application.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg

from bench.baskets import Basket
from bench.errors import BenchError, SideMissing
from bench.http import PATIENCE_SECONDS, HttpClient
from bench.measure import Lap, LapTimer, SideName, Stopwatch
from orderflow.stack.ports import LOOPBACK, free_port
from orderflow.stack.probes import child_environment, port_answers
from orderflow.stack.processes import Spec
from orderflow.stack.stack import EmbeddedStack

VERSION: Final = "3.4.0"
DATABASE: Final = "bench_dbos"
PROCESS: Final = "dbos app"
ROOT: Final = Path(__file__).parents[1]
_LOOK_SECONDS: Final = 0.05


async def install() -> Path:
    """The Python that has DBOS; made once, in the user's cache folder. Raises SideMissing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "orderflow" / f"bench-dbos-{VERSION}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        await _run(sys.executable, "-m", "venv", "--clear", str(folder))
        await _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"dbos=={VERSION}")
        complete.touch()
    return python


async def app(stack: EmbeddedStack, python: Path) -> tuple[Spec, int]:
    """The application's process, with an empty database; and its port."""
    admin_url = stack.settings.orders_admin_url
    if admin_url is None:
        raise RuntimeError("the stack has not started")
    admin = await asyncpg.connect(admin_url.get_secret_value())
    try:
        await admin.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await admin.close()
    url = admin_url.get_secret_value().replace("/postgres?", f"/{DATABASE}?")
    port = free_port(avoid=stack.ports.values())
    spec = Spec(
        name=PROCESS,
        argv=[str(python), "-m", "bench.dbos_app", url, str(port)],
        env=child_environment({"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}),
        cwd=stack.data_dir,
        ready=lambda: port_answers(f"{LOOPBACK}:{port}"),
    )
    return spec, port


class Dbos:
    """Its client, which speaks HTTP as the one of ours does."""

    name: SideName = "dbos"

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def workflow_id(self, lap: Lap) -> None:
        """Temporal knows nothing of it."""

    async def live_through(self, basket: Basket) -> Lap:
        """One order from approve to SHIPPED: to place and to complete it would be nothing."""
        order_id, body = uuid4(), basket.request()
        here, timer = f"/orders/{order_id}", LapTimer()
        timer.sending("approve", "to FULFILLING")
        await self._http.send("POST", f"{here}/approve", body)
        timer.answered("approve")
        await self._http.get(here)
        timer.answered("to FULFILLING")
        timer.sending("ship")
        await self._http.send("POST", f"{here}/ship", {})
        timer.answered("ship")
        return timer.lap(order_id)

    async def settled(self, laps: Sequence[Lap]) -> None:
        """No workflow runs any more."""
        watch = Stopwatch()
        while (await self._http.get("/")).document()["running"]:
            if watch.seconds() > PATIENCE_SECONDS:
                raise BenchError("workflows of DBOS do not come to their end")
            await asyncio.sleep(_LOOK_SECONDS)


async def _run(*argv: str) -> None:
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            cwd="/",
            env=child_environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise SideMissing(f"DBOS could not be installed: {error}") from error
    output = (await child.communicate())[0].decode(errors="replace").strip()
    if child.returncode != 0:
        raise SideMissing(f"DBOS could not be installed: {output.splitlines()[-1] if output else argv[0]}")
