"""How to see that a server is ready, and the environment that a child gets."""

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from http import HTTPStatus

from orderflow.stack.ports import LOOPBACK
from orderflow.stack.processes import Probe
from orderflow.telemetry.readiness import PartKind

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


def http_answers(port: int, path: str) -> Probe:
    """A probe: GET ``path`` on loopback answers 200."""

    async def probe() -> bool:
        status, _ = await _get(port, path)
        return status == HTTPStatus.OK

    return probe


def parts_work(port: int) -> Probe:
    """A probe of a worker process: /health/ready says of every part that it is ok, or stopped.

    A relay that waits for a repair works otherwise, and the repair needs a stack that runs.
    """

    async def probe() -> bool:
        _, body = await _get(port, "/health/ready")
        try:
            parts = json.loads(body)["parts"].values()
            return bool(parts) and all(part["state"] in (PartKind.OK, PartKind.STOPPED) for part in parts)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False  # it does not answer, or something else than a worker does

    return probe


async def _get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of the answer to GET ``path`` on loopback; 0 and nothing where there is none."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return 0, b""
    try:
        # 1.0: the answer ends with the connection, and comes in one piece.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split(maxsplit=2)[1]), body
    except (OSError, ValueError, IndexError):
        return 0, b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
