"""Asking a terminal what an order waits for and which are stuck, comparing stories, taking parts of a stack away."""

import asyncio
import contextlib
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console

from cli.pages import explain as pages
from operations.explain.gather import Found, open_sources
from operations.explain.stuck import look
from operations.explain.verdict import verdicts_on
from orderflow.settings import Service, Settings
from orderflow.stack.environment import running_settings
from orderflow.stack.stack import EmbeddedStack
from orderflow.store.database import Database
from support.paths import ROOT
from support.shop import Shop
from support.terminal import Said, Terminal
from support.waiting import until
from support.whole_stack import owner_url

#: Above GRACE, at which what is not taken is late, and Temporal's 10 s for a task that its worker lost.
LATE_SECONDS = 60.0
#: Wide enough that no line of a story is folded.
COLUMNS = 400


# --- Asking ---


async def explained(terminal: Terminal, order_id: str) -> dict[str, Any]:
    """The order's story, as the command prints it for programs."""
    said = await terminal.run("order", "explain", order_id, "--json")
    assert said.code == 0, said.err
    story: dict[str, Any] = json.loads(said.out)
    return story


async def explains(
    terminal: Terminal, order_id: str, cause: str, *, says: str = "", typed: bool = False
) -> dict[str, Any]:
    """The story, once its verdict is ``cause`` and ``says`` so.

    ``typed``: the command said so too; a process costs a second of CPU.
    """
    found: list[Found] = []

    async def there() -> bool:
        async with open_sources(_settings(terminal)) as sources:
            found[:] = [await sources.gather(UUID(order_id))]
        verdict = verdicts_on(found[0].facts)[0]
        return verdict.cause == cause and says in verdict.waits_for

    with contextlib.suppress(TimeoutError):  # what it is instead is said below
        await until(there, seconds=LATE_SECONDS, every=0.2)
    if typed:
        story = await explained(terminal, order_id)
    else:
        story = pages.story_document(found[0].facts, found[0].lines, verdicts_on(found[0].facts))
    assert story["verdict"]["cause"] == cause, json.dumps(story, indent=1)
    assert says in story["verdict"]["waits_for"]
    return story


def _settings(terminal: Terminal) -> Settings:
    """Those that a command of the terminal has: waiting for something need not start a process each time."""
    return running_settings(Settings(data_dir=Path(terminal.env["ORDERFLOW_DATA_DIR"])))


def whats(story: dict[str, Any], source: str) -> list[str]:
    """The lines of one source."""
    return [line["what"] for line in story["timeline"] if line["source"] == source]


async def stuck(terminal: Terminal, seconds: float = 1) -> tuple[Said, dict[str, dict[str, Any]]]:
    """What it said, and the groups by cause."""
    said = await terminal.run("stuck", "--older-than", str(seconds), "--json")
    document = json.loads(said.out)
    assert said.code == (1 if document["groups"] else 3 if document["unread"] else 0)
    return said, {group["cause"]: group for group in document["groups"]}


async def is_listed(terminal: Terminal, cause: str, *orders: str, typed: bool = False) -> None:
    """Wait until ``stuck`` lists these orders under ``cause``, among others of the same trouble."""
    groups: list[dict[str, Any]] = []

    async def listed() -> bool:
        groups[:] = pages.stuck_document(await look(_settings(terminal), 1))["groups"]
        return set(orders) <= _listed(groups, cause)

    with contextlib.suppress(TimeoutError):  # what it lists instead is said below
        await until(listed, seconds=LATE_SECONDS, every=0.2)
    if typed:
        groups[:] = (await stuck(terminal))[1].values()
    assert set(orders) <= _listed(groups, cause), json.dumps(groups, indent=1)


def _listed(groups: list[dict[str, Any]], cause: str) -> set[str]:
    return {order["order_id"] for group in groups if group["cause"] == cause for order in group["orders"]}


async def none_is_stuck(terminal: Terminal) -> None:
    """Wait until ``stuck`` finds none."""

    async def none() -> bool:
        return not (await look(_settings(terminal), 1)).groups

    await until(none, seconds=LATE_SECONDS, every=0.2)
    assert (await stuck(terminal))[0].code == 0


async def settles(stack: EmbeddedStack, order_id: str, cause: str) -> Found:
    """Wait until the verdict is ``cause`` and all events of the order are published and tracked."""
    found: list[Found] = []
    async with open_sources(stack.settings) as sources:

        async def settled() -> bool:
            found[:] = [await sources.gather(UUID(order_id))]
            late = [line for line in found[0].lines if "; not tracked" in line.what or "not on Kafka yet" in line.what]
            return verdicts_on(found[0].facts)[0].cause == cause and not late

        try:
            await until(settled, seconds=LATE_SECONDS, every=0.1)
        except TimeoutError:
            raise AssertionError(f"not {cause}: {found}") from None
    return found[0]


# --- A story as a page: what differs from run to run is replaced ---

_ROW = re.compile(
    r"^  (?P<day>\d{4}-\d\d-\d\d)? ?(?P<time>\d\d:\d\d:\d\d\.\d{3})"
    r" +(?P<after>[\d.]+ \w+(?: \d+ \w+)?)? +(?P<said>[a-z]+ .*)$"
)
_SPAN = r"[\d.]+ (?:s|min|h|d)(?: \d+ (?:s|min|h))?"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PLACEHOLDERS = (
    (re.compile(rf"\(run {_UUID}"), "(run RUN"),
    (re.compile(rf"c:{_UUID}"), "c:KEY"),
    (re.compile(_UUID), "ORDER"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"partition \d+, offset \d+"), "partition P, offset N"),
    (re.compile(rf"; tracked {_SPAN} later"), "; tracked SPAN later"),
    # How late a busy machine is.
    (re.compile(rf", {_SPAN} after it was recorded"), ""),
)
#: Said only where a busy machine is slow.
_SLOW = re.compile(rf" taken, after {_SPAN}$")


def page(found: Found) -> str:
    """What ``order explain`` prints, with placeholders for ids, times and spans."""
    said = StringIO()
    Console(file=said, width=COLUMNS).print(
        pages.story(found.facts, found.lines, verdicts_on(found.facts)), soft_wrap=True
    )
    return with_placeholders(said.getvalue())


def with_placeholders(story: str) -> str:
    """A page as it is the same of every run: a line each, no blanks at its end. Its lines are in order of time."""
    times = _times(story)
    assert times == sorted(times), story
    return "".join(f"{line}\n" for line in map(_with_placeholders, story.splitlines()) if line is not None)


def _times(story: str) -> list[tuple[str, str]]:
    """The day and time of each line; the page says the day where a new one begins."""
    times, day = [], ""
    for row in filter(None, map(_ROW.match, story.splitlines())):
        day = row["day"] or day
        times.append((day, row["time"]))
    assert times
    assert day
    return times


def _with_placeholders(line: str) -> str | None:
    line = line.rstrip()
    if _SLOW.search(line):
        return None
    for pattern, placeholder in _PLACEHOLDERS:
        line = pattern.sub(placeholder, line)
    if row := _ROW.match(line):
        source, _, what = row["said"].partition(" ")
        line = f"  {'TIME':<6}{'AFTER' if row['after'] else '':<7}{source:<11}{what.strip()}"
    elif line.startswith("  time (UTC)"):
        line = f"  {'time':<6}{'after':<7}{'source':<11}what"
    elif set(line.strip()) == {"─"}:
        line = "  " + "─" * 40
    return line


def in_threads(story: str) -> list[str]:
    """The lines of a page, those that happen side by side apart: what is compared with another run's."""
    return sorted(story.splitlines(), key=_thread)


def _thread(line: str) -> str:
    """Lines of one thread have one order in time; those of two threads may come in any."""
    if not line.startswith("  TIME"):
        return ""
    source, _, what = line[15:].partition(" ")
    what = what.strip()
    first = what.split()[0].rstrip(":")
    if source == "kafka" or first == "signal" or first.endswith(("_payment", "_inventory")):
        return f"{source} {first}"
    return f"{source} refused" if "refused (" in what and source != "temporal" else source


# --- Taking parts away ---


@contextlib.asynccontextmanager
async def without(stack: EmbeddedStack, *names: str) -> AsyncIterator[None]:
    """Stop processes, and start them again whatever happens."""
    try:
        for name in names:
            await stack.process(name).stop()
        yield
    finally:
        for name in reversed(names):
            await stack.process(name).start()


@contextlib.asynccontextmanager
async def frozen(stack: EmbeddedStack, name: str) -> AsyncIterator[None]:
    """Freeze a process: its connections stay open and nothing answers."""
    stack.process(name).freeze()
    try:
        yield
    finally:
        stack.process(name).thaw()


@contextlib.asynccontextmanager
async def faulty_gateway(stack: EmbeddedStack, **faults: object) -> AsyncIterator[None]:
    """Break the simulated gateway."""
    async with httpx.AsyncClient(base_url=stack.settings.gateway_url) as http:
        (await http.put("/v1/faults", json=faults)).raise_for_status()
        try:
            yield
        finally:
            (await http.put("/v1/faults", json={})).raise_for_status()


@contextlib.asynccontextmanager
async def a_worker(
    stack: EmbeddedStack, log: Path, *roles: str, code: Path | None = None, **settings: object
) -> AsyncIterator[None]:
    """A worker process beside the stack's, with other settings, or with other code that comes first on its path."""
    given = {f"ORDERFLOW_{name.upper()}": str(value) for name, value in settings.items()}
    env = {**stack.env, "ORDERFLOW_HEALTH_PORT": "0", **given}
    if code is not None:
        env["PYTHONPATH"] = f"{code}:{env['PYTHONPATH']}"
    with log.open("ab") as lines:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "cli.main", "worker", *roles),
            cwd=log.parent,
            env=env,
            stdout=lines,
            stderr=lines,
            stdin=asyncio.subprocess.DEVNULL,
        )
    try:
        yield
    finally:
        if worker.returncode is None:
            worker.terminate()
        await asyncio.wait_for(worker.wait(), 30)


@contextlib.asynccontextmanager
async def opened(stack: EmbeddedStack, service: Service) -> AsyncIterator[Database]:
    """One of the stack's databases, as its owner."""
    async with Database(service, owner_url(stack, service)) as database:
        yield database


async def send(shop: Shop, order_id: str, command: str) -> None:
    """Hand a command in, and wait for nothing."""
    answer = await shop.http.post(f"/orders/{order_id}/{command}", json={}, headers={"Prefer": "respond-async"})
    assert answer.status_code in (200, 202)


def reordered(folder: Path) -> Path:
    """A copy of the workflows in which stock is reserved before the payment is authorized."""
    shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "workflows" / "order_workflow.py"
    source = file.read_text()
    start = source.index("        if self._payment is None:\n            self._start(")
    middle = source.index("        if self._inventory is None:\n", start)
    end = source.index("\n\n", middle)
    swapped = source[middle:end] + "\n" + source[start:middle].rstrip("\n")
    file.write_text(source[:start] + swapped + source[end:])
    return folder
