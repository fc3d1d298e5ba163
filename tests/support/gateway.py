"""The gateway simulator as a process of its own, for any test that needs a payment gateway."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from support.paths import ROOT

START_SECONDS = 20


class SimulatorProcess:
    """One simulator on one port and one ledger, which can be stopped, killed and started again."""

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "gateway",
        decline_rate: float = 0.0,
        seed: int = 0,
        slow_seconds: float = 3.0,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = directory / f"{name}.db"
        self._arguments = [
            *("--port", str(self.port), "--ledger", str(self.ledger), "--seed", str(seed)),
            *("--decline-rate", str(decline_rate), "--slow-seconds", str(slow_seconds)),
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orderflow.gateways.simulator", *self._arguments),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
                while not await self._serves(client):
                    if self._process.returncode is not None:
                        raise RuntimeError(f"the gateway simulator exited with {self._process.returncode}")
                    await asyncio.sleep(0.02)
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), 15)

    async def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _serves(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{self.url}/health")).status_code == 200
        return False


@asynccontextmanager
async def running_simulator(
    directory: Path, *, name: str = "gateway", decline_rate: float = 0.0, seed: int = 0, slow_seconds: float = 3.0
) -> AsyncIterator[str]:
    """A simulator whose ledger is ``<name>.db`` in ``directory``; gives its URL and ends it afterwards."""
    simulator = SimulatorProcess(directory, name=name, decline_rate=decline_rate, seed=seed, slow_seconds=slow_seconds)
    await simulator.start()
    try:
        yield simulator.url
    finally:
        await simulator.kill()


def free_port() -> int:
    """A port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
