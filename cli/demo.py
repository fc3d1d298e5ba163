"""The command ``orderflow demo``: its options, and its order of work."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

import typer

from cli.calls import AsJson, print_json, show_problem
from cli.terminal import err, fail, load_settings, out

if TYPE_CHECKING:
    from cli.pages.demo_progress import Teller
    from operations.demo.comparison import Comparison
    from operations.demo.measure import Figures
    from operations.demo.plan import Plan
    from operations.demo.run import Story
    from orderflow.client import ApiClient
    from orderflow.settings import Settings
    from orderflow.stack.stack import EmbeddedStack

SAMPLES: Final = Path(__file__).resolve().parents[1] / "samples"
DECLINE_RATE: Final = 0.1
PATIENCE_SECONDS: Final = 30.0
REST_SECONDS: Final = 60.0
STOCK_REQUESTS: Final = 16
DIFFERS: Final = 1
INTERRUPTED: Final = 130
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    orders: int
    concurrency: int
    rate: float | None
    keep: bool
    fresh: bool
    samples: Path


@dataclass(slots=True)
class Run:
    """What a run has found so far."""

    idle: "list[Story]" = field(default_factory=list)
    crowd: "list[Story]" = field(default_factory=list)
    figures: "Figures | None" = None
    lines: "list[Comparison]" = field(default_factory=list)
    first_seconds: float | None = None
    #: Whether the machine had anything else to do while orders were measured one at a time.
    load: float = 0.0


def register(app: typer.Typer) -> None:
    """Add the command to the top level."""
    app.command()(demo)


def demo(
    orders: Annotated[int, typer.Option("--orders", min=10, max=5000, help="How many baskets become orders.")] = 240,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=200, help="Orders in flight at most.")] = 24,
    rate: Annotated[float | None, typer.Option("--rate", min=0.1, help="New orders a second, at most.")] = None,
    decline_rate: Annotated[
        float, typer.Option("--decline-rate", min=0, max=1, help="Share of payments that are declined.")
    ] = DECLINE_RATE,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the stack running at the end, until Ctrl-C.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh/--continue", help="Start with empty data, or with the last.")] = True,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="For the API. Default: a free one.")
    ] = None,
    samples: Annotated[Path, typer.Option("--samples", help="Folder with baskets.csv.", show_default=False)] = SAMPLES,
    as_json: AsJson = False,
) -> None:
    """Take real baskets through the whole stack, then check that everything that was written agrees.

    It has a stack of its own in .orderflow/demo, on free ports: a running `orderflow up` is not disturbed.
    """
    settings = load_settings()
    changes: dict[str, Any] = {"stack_decline_rate": decline_rate, "data_dir": settings.data_dir / "demo"}
    if port is not None:
        changes["api_port"] = port
    settings = settings.model_copy(update=changes)
    options = Options(orders, concurrency, rate, keep, fresh, samples)
    raise typer.Exit(asyncio.run(_until_stopped(settings, options, as_json)))


async def _until_stopped(settings: "Settings", options: Options, as_json: bool) -> int:
    """The whole demo; a signal ends it in order, a second one at once. Returns the exit code."""
    from cli.pages.demo_progress import Teller
    from operations.bulk.csv_files import BadFile
    from operations.demo.run import Stuck
    from orderflow.client import Refused, Unreachable
    from orderflow.domain.errors import Unavailable
    from orderflow.stack.errors import StackError
    from orderflow.stack.stack import EmbeddedStack
    from orderflow.stream.reading import TopicAway

    teller = Teller(err if as_json else out)
    stack = EmbeddedStack(settings, ports="free", fresh=options.fresh, on_event=teller.of_process)
    working = asyncio.create_task(_demo(stack, options, teller, as_json))

    def stop() -> None:
        if working.done() or working.cancelling():
            stack.hurry()
        else:
            working.cancel()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await working
    except asyncio.CancelledError:
        teller.say("interrupted")
        return INTERRUPTED
    except Refused as error:
        show_problem(error.status, error.problem)
        return DIFFERS
    except (BadFile, StackError, Stuck, TopicAway, Unavailable, Unreachable) as error:
        fail(str(error))
    finally:
        if stack.processes:
            teller.say("stopping the stack")
        await stack.stop()


async def _demo(stack: "EmbeddedStack", options: Options, teller: "Teller", as_json: bool) -> int:
    from operations.bulk.csv_files import read_baskets
    from operations.demo.check import agrees
    from operations.demo.plan import make_plan
    from operations.demo.run import CURRENCY

    typed_at = typed()
    baskets = read_baskets(options.samples / "baskets.csv", CURRENCY)
    # With the data of another run the same keys would only find its orders again.
    plan = make_plan(baskets, options.orders, "1" if options.fresh else uuid4().hex[:8])
    teller.say(f"starting the stack in {_short(stack.data_dir)}")
    await stack.start()
    teller.announce = False
    run = Run()
    await _trade(stack, plan, options, teller, run, typed_at)
    await _examine(stack, teller, run)
    if as_json:
        print_json(_document(run, stack))
    else:
        await _report(stack, options, run)
    if options.keep:
        await _keep(stack, teller)
    return 0 if agrees(run.lines) else DIFFERS


async def _trade(
    stack: "EmbeddedStack", plan: "Plan", options: Options, teller: "Teller", run: Run, typed_at: float
) -> None:
    """Load the stock, then let the customers in: first one at a time, then all of them."""
    from cli.pages.progress import progress
    from operations.bulk.stock_import import import_stock
    from operations.demo.follower import following_stream
    from operations.demo.run import Shop, Stuck

    async with (
        _client(stack, max(options.concurrency, STOCK_REQUESTS)) as api,
        following_stream(stack.settings) as follower,
    ):
        with progress("stating stock", len(plan.stock), teller.console) as advance:
            stated = await import_stock(api, plan.stock, at_once=STOCK_REQUESTS, advance=advance)
        if stated.refused or stated.stopped:
            raise Stuck(f"the stock was not loaded: {stated.stopped or next(iter(stated.refused.values()))}")
        teller.say(
            f"stock of {stated.skus} products loaded ({len(plan.scarce)} scarce; "
            f"{len(plan.unstocked)} that baskets want are not sold here)"
        )
        shop = Shop(api, follower)
        async with teller.following(follower, "one at a time", len(plan.idle)):
            run.idle = await shop.one_at_a_time(plan.idle[:1])
            run.first_seconds = (run.idle[0].decided_at or time.time()) - typed_at
            teller.say(f"the first order was FULFILLING {run.first_seconds:.1f} s after the command was typed")
            run.idle += await shop.one_at_a_time(plan.idle[1:])
            run.load = os.getloadavg()[0]
        what = f"{options.concurrency} at once"
        async with teller.following(follower, what, len(plan.idle) + len(plan.crowd)):
            run.crowd = await shop.crowd(plan.crowd, at_once=options.concurrency, per_second=options.rate)


async def _examine(stack: "EmbeddedStack", teller: "Teller", run: Run) -> None:
    """When the last door is shut and the last event is tracked: read everything, compare, count."""
    from operations.demo.check import check
    from operations.demo.evidence import gather
    from operations.demo.measure import measure
    from operations.demo.rest import settled

    moving = await settled(stack.settings, REST_SECONDS)
    if moving is not None:
        teller.say(f"not at rest after {REST_SECONDS:.0f} s: {moving}")
    evidence = await gather(stack.settings)
    run.lines = check(evidence)
    run.figures = measure(evidence, run.idle, run.crowd)
    teller.say("everything that was written is read and compared")


async def _report(stack: "EmbeddedStack", options: Options, run: Run) -> None:
    from cli.pages import demo_report as report

    if run.figures is not None:
        report.print_figures(out, run.figures, at_once=options.concurrency, load=run.load)
    report.print_check(out, run.lines)
    async with _client(stack, 2) as api:
        web_ui = ""
        for status in ("COMPLETED", "CANCELLED"):
            found = (await api.get("/orders", status=status, limit=200)).data["orders"]
            # Of the cancelled ones the most telling: its payment was held, or its stock, and given back.
            chosen = max(found, key=lambda order: order["version"], default=None)
            if chosen is not None:
                events = (await api.get(f"/orders/{chosen['id']}/events")).data["events"]
                report.print_timeline(out, chosen, events)
                web_ui = web_ui or chosen["links"]["temporal_ui"]
    out.print(f"first order FULFILLING: {run.first_seconds:.1f} s after the command was typed")
    out.print(f"that order in the Temporal Web UI: {web_ui}", soft_wrap=True)
    out.print(f"the API's documentation: {stack.links['api']}", soft_wrap=True)
    if not options.keep:
        out.print("The links work while a stack runs: `orderflow demo --keep` leaves this one on.", markup=False)


async def _keep(stack: "EmbeddedStack", teller: "Teller") -> None:
    """Until a signal comes."""
    teller.announce = True
    data_dir = _short(stack.data_dir)
    teller.say(f"it stays up until Ctrl-C; in another terminal: ORDERFLOW_DATA_DIR={data_dir} orderflow order list")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def typed() -> float:
    """When the command was typed, in seconds since the epoch: a ``make`` that called it is part of it."""
    import psutil

    started = psutil.Process()
    with contextlib.suppress(psutil.Error):
        for parent in psutil.Process().parents()[:2]:
            if parent.name() in ("make", "gmake"):
                started = parent
    return started.create_time()


def _client(stack: "EmbeddedStack", connections: int) -> "ApiClient":
    from orderflow.client import ApiClient

    return ApiClient(stack.settings.api_url, patience_seconds=PATIENCE_SECONDS, connections=connections)


def _document(run: Run, stack: "EmbeddedStack") -> dict[str, Any]:
    from operations.demo.check import agrees

    return {
        "agrees": agrees(run.lines),
        "check": [{**asdict(line), "ok": line.ok} for line in run.lines],
        "figures": run.figures.to_data() if run.figures else None,
        "first_fulfilling_seconds": run.first_seconds,
        "load_average": run.load,
        "links": stack.links,
    }


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
