"""DBOS Transact as a no-op of the same shape: an application that holds its workflows, behind HTTP.

Run by the Python of an environment of its own (``bench/dbos.py``), so it imports nothing but the standard library and
``dbos``. Used as kindly as possible: the order is the workflow's input, so nothing has to look for it; workflows are
coroutines of the process that serves, so no queue is polled; a request waits in the process for the step that it is
about, so no status is asked for in a database. What is durable is DBOS's own: the workflow's input and result, six
steps, and a ship that is sent and received.

    python -m bench.dbos_app DATABASE_URL PORT
"""

import asyncio
import json
import signal
import sys
from typing import Any

from dbos import DBOS, SetWorkflowID

Order = dict[str, Any]


class Board:
    """Where each order stands, for the requests that wait for it."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, str], asyncio.Event] = {}
        self.running = 0

    def at(self, order_id: str, status: str) -> asyncio.Event:
        """Set once the order is, or was, in ``status``."""
        return self._reached.setdefault((order_id, status), asyncio.Event())

    def forget(self, order_id: str) -> None:
        """It is over."""
        for status in ("FULFILLING", "SHIPPED"):
            self._reached.pop((order_id, status), None)


board = Board()


@DBOS.step()
async def authorize(order_id: str, amount: int) -> dict[str, str]:
    """Nothing."""
    return {"state": "ok"}


@DBOS.step()
async def reserve(order_id: str, lines: list[Order]) -> dict[str, str]:
    """Nothing."""
    return {"state": "ok"}


@DBOS.step()
async def fulfil(order_id: str) -> dict[str, str]:
    """To FULFILLING."""
    board.at(order_id, "FULFILLING").set()
    return {"state": "done", "status": "FULFILLING"}


@DBOS.step()
async def capture(order_id: str) -> dict[str, str]:
    """Nothing."""
    return {"state": "ok"}


@DBOS.step()
async def commit(order_id: str) -> dict[str, str]:
    """Nothing."""
    return {"state": "ok"}


@DBOS.step()
async def end_ship(order_id: str) -> dict[str, str]:
    """To SHIPPED."""
    board.at(order_id, "SHIPPED").set()
    return {"state": "done", "status": "SHIPPED"}


@DBOS.workflow()
async def run_order(order_id: str, order: Order) -> dict[str, str]:
    """From approve to SHIPPED."""
    total = sum(line["quantity"] * line["unit_price"] for line in order["lines"])
    await asyncio.gather(authorize(order_id, total), reserve(order_id, order["lines"]))
    await fulfil(order_id)
    await DBOS.recv_async("ship", timeout_seconds=3600)
    await capture(order_id)
    await asyncio.gather(commit(order_id), end_ship(order_id))
    return {"status": "SHIPPED"}


async def _approve(order_id: str, order: Order) -> None:
    with SetWorkflowID(order_id):
        handle = await DBOS.start_workflow_async(run_order, order_id, order)
    board.running += 1

    async def ended() -> None:
        await handle.get_result()
        board.running -= 1
        board.forget(order_id)

    _keep(ended())


_tasks: set[asyncio.Task[None]] = set()


def _keep(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _act(method: str, path: str, body: Order) -> Order:
    """POST /orders/ID/approve or ship; GET /orders/ID waits for FULFILLING; GET /: how many run."""
    order_id, _, action = path.removeprefix("/orders").removeprefix("/").partition("/")
    if method == "GET" and order_id:
        await board.at(order_id, "FULFILLING").wait()
        return {"status": "FULFILLING"}
    if action == "approve":
        await _approve(order_id, body)
    elif action == "ship":
        await DBOS.send_async(order_id, {}, "ship")
        await board.at(order_id, "SHIPPED").wait()
    return {"running": board.running}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP as the bench's client speaks it: keep-alive, JSON with a Content-Length."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            length = next((int(h[15:]) for h in head.split("\r\n") if h.lower().startswith("content-length:")), 0)
            body = json.loads(await reader.readexactly(length)) if length else {}
            answer = json.dumps(await _act(method, path, body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(url: str, port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "WARNING"})
    DBOS.launch()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    await stopping.wait()
    server.close()
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
