"""``orderflow up | down | status | setup``, and the single processes: ``api`` and ``worker``."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calls import REFUSED, UNREACHABLE, AsJson, print_json
from cli.interrupts import STOP_SIGNALS
from cli.terminal import fail, load_settings, out, short_path
from workers.roles import ROLES

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow.stack.control import Status
    from orderflow.stack.processes import Event
    from orderflow.stack.stack import EmbeddedStack


def register(app: typer.Typer) -> None:
    """Add the commands to the top level."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(setup)
    app.command()(api)
    app.command()(worker)


def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with empty data.")] = False,
    decline_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of payments that the gateway simulator declines.")
    ] = None,
) -> None:
    """Start everything on this machine and stay in the foreground; Ctrl-C stops all in order."""
    from orderflow.stack.errors import StackError

    settings = load_settings()
    if decline_rate is not None:
        settings = settings.model_copy(update={"stack_decline_rate": decline_rate})
    try:
        asyncio.run(_up(settings, fresh=fresh))
    except StackError as error:
        fail(str(error))


async def _up(settings: "Settings", *, fresh: bool) -> None:
    from cli.pages import stack as pages
    from orderflow.stack.stack import EmbeddedStack

    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, signals.put_nowait, number)
    stack = EmbeddedStack(settings, fresh=fresh, on_event=say)
    starting = asyncio.create_task(stack.start())
    asked = asyncio.create_task(signals.get())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    if asked.done() and not starting.done():
        out.print("stopping")
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    try:
        await starting
    except BaseException:
        asked.cancel()
        raise
    out.print("OrderFlow runs:")
    out.print(pages.started(stack.processes, stack.links))
    await _say_what_is_not_ready(stack)
    for moved in stack.moved_ports:
        out.print(f"port {moved.wanted} is taken: {moved.name} uses {moved.chosen}")
    out.print(f"Logs: {short_path(stack.data_dir / 'logs')}", soft_wrap=True)
    out.print("In another terminal, paste:")
    out.print(f"  {pages.export(stack.settings)}", soft_wrap=True, no_wrap=True)
    out.print("Ctrl-C stops everything; the data stays.")
    await asked
    out.print("stopping (Ctrl-C again: at once)")
    stopping = asyncio.create_task(stack.stop())
    again = asyncio.create_task(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stack.hurry()
    await stopping
    again.cancel()
    out.print("stopped")


async def _say_what_is_not_ready(stack: "EmbeddedStack") -> None:
    """The relay may have started with partitions that wait for a repair."""
    import httpx

    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            parts = (await client.get(stack.links["relay"])).json()["parts"]
        for part, state in parts.items():
            if state["state"] != "ok":
                out.print(f"{part}: {state['detail'] or state['state']}", style="yellow", soft_wrap=True)


def say(event: "Event") -> None:
    """One line for what a person wants to know about a process of the stack."""
    colours = {"crashed": "red", "still_down": "red", "killed": "yellow", "ready": "green", "restarted": "green"}
    kind = event.kind.replace("_", " ")
    out.print(f"{event.process:<10} ", end="")
    out.print(kind, style=colours.get(event.kind), end="")
    out.print(f" ({event.detail})" if event.detail else "")


def down(as_json: AsJson = False) -> None:
    """Stop the stack that runs from the data dir, also what a killed `orderflow up` left behind."""
    from orderflow.stack import control
    from orderflow.stack.errors import StackError

    try:
        stopped = asyncio.run(control.down(load_settings().data_dir))
    except StackError as error:
        fail(str(error))
    if as_json:
        print_json({"stopped": stopped})
    else:
        out.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def status(as_json: AsJson = False) -> None:
    """Show what runs from the data dir. Exit code 0 when the stack is up, 3 when it is not."""
    from orderflow.stack import control

    settings = load_settings()
    found = control.status(settings.data_dir)
    if as_json:
        print_json(found.to_data())
    else:
        _print_status(found, settings.data_dir)
    if not found.running:
        raise typer.Exit(UNREACHABLE)


def _print_status(found: "Status", data_dir: Path) -> None:
    from cli.pages import stack as pages

    if found.phase == "stopped":
        out.print(f"not running (data dir {data_dir.resolve()})")
        return
    if found.phase == "killed":
        out.print("its supervisor was killed; these still run", style="red", end="")
        out.print(": `orderflow down` stops them")
    else:
        out.print(f"{found.phase}, supervisor pid {found.supervisor_pid}")
    out.print(pages.running(found.processes))


def setup(
    development_keys: Annotated[
        bool,
        typer.Option("--development-keys", help="Also an API key for each role, in `keys/` of the data folder."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prepare Postgres, Kafka and Temporal: roles, databases, migrations, topic, search attributes. Safe to repeat."""
    from operations.development_keys import ensure_development_keys
    from orderflow import bootstrap
    from orderflow.domain.errors import Unavailable
    from orderflow.security.secret_files import SecretFileError

    settings = load_settings()
    steps: list[dict[str, str]] = []

    def report(step: bootstrap.SetupStep) -> None:
        if as_json:
            steps.append({"what": step.what, "outcome": step.outcome})
        else:
            out.print(f"{step.what}: {step.outcome}")

    try:
        asyncio.run(bootstrap.setup(settings, report))
        if development_keys:
            made = asyncio.run(ensure_development_keys(settings))
            report(bootstrap.SetupStep("API keys for development", f"made, in {made}" if made else "there already"))
    except (Unavailable, SecretFileError) as error:
        fail(f"API keys for development: {error}", UNREACHABLE)
    except bootstrap.SetupError as error:
        fail(str(error), UNREACHABLE if error.unanswered else REFUSED)
    finally:
        if as_json:
            print_json(steps)


def api() -> None:
    """Run the HTTP API in this process."""
    from api.app import create_app
    from api.server import serve
    from orderflow.security.sealing import KeyFileError

    settings = load_settings()
    try:
        app = create_app()
    except KeyFileError as error:
        fail(f"payment tokens cannot be sealed: {error}")
    serve(app, settings)


def worker(
    roles: Annotated[list[str], typer.Argument(help=f"{', '.join(ROLES)}; one or several.")],
) -> None:
    """Run one or several workers in this process."""
    for role in roles:
        if role not in ROLES:
            fail(f"no worker {role!r}: there are {', '.join(ROLES)}", 2)
    import uvloop

    from workers.run import run

    settings = load_settings()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(roles, settings))
