"""The command ``orderflow demo``: its options, and its order of work."""

import asyncio
import contextlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

import typer

from cli.calls import AsJson, print_json, show_problem
from cli.interrupts import STOP_SIGNALS
from cli.terminal import err, fail, load_settings, out, short_path

if TYPE_CHECKING:
    from cli.pages.demo_progress import Teller
    from operations.demo.whole import Run
    from orderflow.settings import Settings
    from orderflow.stack.stack import EmbeddedStack

SAMPLES: Final = Path(__file__).resolve().parents[1] / "samples"
DECLINE_RATE: Final = 0.1
DIFFERS: Final = 1
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    orders: int
    concurrency: int
    rate: float | None
    keep: bool
    fresh: bool
    samples: Path


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
    from operations.demo.plan import make_plan
    from operations.demo.run import CURRENCY
    from operations.demo.whole import examine, trade

    typed_at = typed()
    baskets = read_baskets(options.samples / "baskets.csv", CURRENCY)
    # With the data of another run the same keys would only find its orders again.
    plan = make_plan(baskets, options.orders, "1" if options.fresh else uuid4().hex[:8])
    teller.say(f"starting the stack in {short_path(stack.data_dir)}")
    await stack.start()
    teller.announce = False
    run = await trade(
        stack.settings, plan, teller, at_once=options.concurrency, per_second=options.rate, typed_at=typed_at
    )
    await examine(stack.settings, run, teller)
    if as_json:
        print_json({**run.to_data(), "links": stack.links})
    else:
        await _report(stack, options, run)
    if options.keep:
        await _keep(stack, teller)
    return 0 if run.agrees else DIFFERS


async def _report(stack: "EmbeddedStack", options: Options, run: "Run") -> None:
    from cli.pages import demo_report as report
    from operations.demo.whole import api_client, telling_orders

    if run.figures is not None:
        report.print_figures(out, run.figures, at_once=options.concurrency, load=run.load)
    report.print_check(out, run.comparisons)
    async with api_client(stack.settings, 2) as api:
        told = await telling_orders(api)
    for order, events in told:
        report.print_timeline(out, order, events)
    web_ui = next((order["links"]["temporal_ui"] for order, _ in told), "")
    out.print(f"first order FULFILLING: {run.first_seconds:.1f} s after the command was typed")
    out.print(f"that order in the Temporal Web UI: {web_ui}", soft_wrap=True)
    out.print(f"the API's documentation: {stack.links['api']}", soft_wrap=True)
    if not options.keep:
        out.print("The links work while a stack runs. This one has ended; what to type next:")
        command = _command()
        out.print(f"  {command} up             # a stack of your own, which stays until Ctrl-C", soft_wrap=True)
        out.print(f"  {command} demo --keep    # all of this again, and the stack stays", soft_wrap=True)


async def _keep(stack: "EmbeddedStack", teller: "Teller") -> None:
    """Until a signal comes."""
    teller.announce = True
    data_dir = short_path(stack.data_dir)
    where = f"ORDERFLOW_DATA_DIR={shlex.quote(data_dir)} {_command()}"
    teller.say(f"it stays up until Ctrl-C; in another terminal: {where} order list")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _command() -> str:
    """The command as it works here, also where no environment is activated."""
    return shlex.quote(short_path(Path(sys.executable).with_name("orderflow")))


def typed() -> float:
    """When the command was typed, in seconds since the epoch: a ``make`` that called it is part of it."""
    import psutil

    started = psutil.Process()
    with contextlib.suppress(psutil.Error):
        for parent in psutil.Process().parents()[:2]:
            if parent.name() in ("make", "gmake"):
                started = parent
    return started.create_time()
