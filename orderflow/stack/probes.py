"""How to see that a server is ready, and the environment that a child gets."""

import asyncio
import contextlib
import os
from collections.abc import Mapping

from orderflow.stack.ports import LOOPBACK
from orderflow.stack.processes import Probe

#: What would silently redirect a server or one of our processes.
SURPRISES = ("ORDERFLOW_", "PG", "TEMPORAL_", "DBMATE_", "DATABASE_URL", "KAFKA_")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without the variables that would steer a child, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SURPRISES)}
    return {**kept, **(extra or {})}


async def port_answers(address: str) -> bool:
    """Whether something listens at ``address`` (host:port)."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def http_answers(port: int, path: str, *, or_says: str | None = None) -> Probe:
    """A probe: GET ``path`` on loopback answers 200, or with another status something that has ``or_says`` in it."""

    async def probe() -> bool:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return False
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            answered = b" 200 " in await reader.readline()
            return answered or (or_says is not None and or_says.encode() in await reader.read())
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return probe
