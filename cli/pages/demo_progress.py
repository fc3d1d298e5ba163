"""What is going on, while it goes on: a table that changes on a terminal, a line now and then elsewhere."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.pages.orders import status_text
from cli.pages.progress import progress
from operations.demo.follower import Follower
from orderflow.stack.processes import Event

REDRAW_SECONDS: Final = 0.25
LINE_EVERY_SECONDS: Final = 2.0
#: Between restarts one wants to know of these; what else a process does is no news.
NEWS: Final = {"ready": "green", "done": "green", "crashed": "red", "still_down": "red", "restarted": "yellow"}


class Teller:
    """Says things on one console. ``announce`` makes it tell what the stack's processes do."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self.announce = True

    def say(self, what: str) -> None:
        """One line, with the seconds since the start."""
        self.console.print(Text(f"{time.monotonic() - self._started:5.1f} s  {what}"), soft_wrap=True)

    def of_process(self, event: Event) -> None:
        """News of a process of the stack."""
        if event.kind in NEWS and (self.announce or event.kind not in ("ready", "done")):
            detail = f" ({event.detail})" if event.detail else ""
            self.say(f"{event.process:<10} {event.kind.replace('_', ' ')}{detail}")

    @contextlib.asynccontextmanager
    async def following(self, follower: Follower, what: str, orders: int) -> AsyncIterator[None]:
        """Show how the orders on the stream stand, as long as this lasts. ``orders``: how many there will be."""
        showing = asyncio.create_task(self._show(follower, what, orders))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            self.say(_sentence(follower, what, orders))

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """A bar, or a line now and then, for ``total`` things."""
        return progress(what, total, self.console)

    async def _show(self, follower: Follower, what: str, orders: int) -> None:
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(LINE_EVERY_SECONDS)
                self.say(_sentence(follower, what, orders))
        from rich.live import Live

        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(_table(follower, what, orders), refresh=True)
                await asyncio.sleep(REDRAW_SECONDS)


def _sentence(follower: Follower, what: str, orders: int) -> str:
    counts = follower.counts()
    statuses = ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])
    return f"{what}: {sum(counts.values())} of {orders} orders, {statuses or 'none yet'}; {follower.records} events"


_ORDER: Final = ("DRAFT", "APPROVED", "FULFILLING", "SHIPPED", "COMPLETED", "CANCELLED")


def _table(follower: Follower, what: str, orders: int) -> Table:
    counts = follower.counts()
    table = Table.grid(padding=(0, 2))
    table.add_row(Text(what, style="bold"), f"{sum(counts.values())} of {orders} orders", f"{follower.records} events")
    for status in _ORDER:
        bar = "━" * round(60 * counts[status] / max(1, orders))
        table.add_row(status_text(status), Text(bar, style="default"), str(counts[status]))
    return table
