"""``python -m bench.crowd``: what one caller feels of another that asks as fast as it can on many connections.

A quiet caller reads and places, one request at a time, first alone, then beside a crowd of each kind. The crowd is a
process of its own, so that only the API is shared. Read the ratios, and that nothing was refused.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final
from uuid import uuid4

import typer

from bench.http import HttpClient
from bench.measure import percentile
from bench.report import Sheet, to_terminal
from bench.terminal import console, run, say_trouble
from orderflow.credentials import api_key
from orderflow.domain.access import ROLES, SYSTEM
from orderflow.security import api_keys
from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack, wipe
from orderflow.store.access import Access
from orderflow.store.database import Database

#: What the crowd sends.
CROWDS: Final = ("reads", "places", "guesses")
MOST_TIMES: Final = 3.0
_KEY: Final = "ORDERFLOW_CROWD_KEY"


@dataclass(slots=True)
class Felt:
    """What a caller got: milliseconds of each answer, and how many of each status."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def at(self, share: float) -> float:
        """The time within which this share was answered."""
        return percentile(self.milliseconds, share)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each phase.")] = 10.0,
    connections: Annotated[int, typer.Option(min=1, max=500, help="Of the crowd.")] = 60,
    crowd: Annotated[str, typer.Option(hidden=True)] = "",
    url: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure what one caller feels of another."""
    if crowd:
        asyncio.run(_be_a_crowd(crowd, url, os.environ[_KEY], seconds, connections))
        return
    felt = run(_measured(seconds, connections))
    quiet, rows, missed = felt["alone"], [], []
    for name, one in felt.items():
        ratio = one.at(0.95) / quiet.at(0.95)
        refused = sum(number for status, number in one.statuses.items() if status >= 429)
        if ratio >= MOST_TIMES or refused:
            missed.append(name)
        figures = (one.at(0.5), one.at(0.95), one.at(0.99))
        rows.append((name, len(one.milliseconds), *(f"{each:.1f}" for each in figures), f"{ratio:.2f}", refused))
    columns = ("beside", "requests", "p50 ms", "p95 ms", "p99 ms", "p95 / alone", "429 and 5xx")
    title = f"A quiet caller beside {connections} connections of another, {seconds:g} s each"
    to_terminal([Sheet(title, columns, [tuple(map(str, row)) for row in rows])], console)
    if missed:
        console.print(f"more than {MOST_TIMES:g} times its quiet p95, or refused, beside: {', '.join(missed)}")
        raise typer.Exit(1)


async def _measured(seconds: float, connections: int) -> dict[str, Felt]:
    felt = {}
    async with _stack() as settings:
        quiet, loud = str(api_key(settings)), await _another_key(settings)
        await _quiet(settings.api_url, quiet, 2.0)
        felt["alone"] = await _quiet(settings.api_url, quiet, seconds)
        for name in CROWDS:
            command = [sys.executable, "-m", "bench.crowd", "--crowd", name, "--url", settings.api_url]
            spans = ["--seconds", str(seconds + 2), "--connections", str(connections)]
            crowd = await asyncio.create_subprocess_exec(*command, *spans, env=os.environ | {_KEY: loud})
            await asyncio.sleep(1.5)  # it starts
            felt[name] = await _quiet(settings.api_url, quiet, seconds - 1)
            await crowd.wait()
    return felt


@contextlib.asynccontextmanager
async def _stack() -> AsyncIterator[Settings]:
    with TemporaryDirectory(prefix="orderflow-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103 - for root, Postgres runs as another user, which must be able to pass
        home = Path(folder) / "stack"
        settings = Settings(reconcile_interval_seconds=0)
        try:
            async with EmbeddedStack(settings, home, ports="free", on_event=say_trouble) as stack:
                yield stack.settings
        finally:
            wipe(home)


async def _another_key(settings: Settings) -> str:
    text, key = api_keys.make(settings.deployment)
    async with Database("orders", settings.database_url("orders", "keys")) as database:
        access = Access(database)
        await access.make_principal("crowd", ROLES["merchant"], None)
        await access.make_key("crowd", key, SYSTEM, expires_at=datetime.now(UTC) + timedelta(hours=1))
    return text


async def _quiet(url: str, key: str, seconds: float) -> Felt:
    """One request at a time, as a shop's checkout: place an order, read it."""
    felt, until = Felt(), time.monotonic() + seconds
    async with HttpClient(url, f"Authorization: Bearer {key}\r\n") as http:
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = await http.send("POST", "/orders", _order(), f"Idempotency-Key: {uuid4()}\r\n")
            placed = time.perf_counter()
            felt.milliseconds.append((placed - began) * 1000)
            felt.statuses[answer.status] += 1
            if answer.status != 201:
                continue
            answer = await http.get(f"/orders/{answer.document()['id']}")
            felt.milliseconds.append((time.perf_counter() - placed) * 1000)
            felt.statuses[answer.status] += 1
    return felt


async def _be_a_crowd(what: str, url: str, key: str, seconds: float, connections: int) -> None:
    until, seen = time.monotonic() + seconds, Counter[int]()
    sent = "" if what == "guesses" else f"Authorization: Bearer {key}\r\n"

    async def one() -> None:
        async with HttpClient(url, sent) as http:
            while time.monotonic() < until:
                if what == "reads":
                    answer = await http.get("/orders?limit=100")
                elif what == "places":
                    answer = await http.send("POST", "/orders", _order(), f"Idempotency-Key: {uuid4()}\r\n")
                else:
                    answer = await http.get("/orders", f"Authorization: Bearer {api_keys.make('dev')[0]}\r\n")
                seen[answer.status] += 1

    await asyncio.gather(*(one() for _ in range(connections)))
    print(f"the crowd's {what}: {dict(seen)}", flush=True)


def _order() -> dict[str, Any]:
    return {
        "customer_id": "crowd",
        "currency": "USD",
        "payment_token": "tok_ok",
        "lines": [{"sku": "bread", "quantity": 2, "unit_price": 150}],
    }


if __name__ == "__main__":
    typer.run(main)
