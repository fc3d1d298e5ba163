"""``orderflow observe``: a real Prometheus with our alerts, beside the embedded stack of this folder."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.calls import UNREACHABLE
from cli.interrupts import asked_to_stop, until
from cli.stack import say
from cli.terminal import fail, load_settings, out

if TYPE_CHECKING:
    from orderflow.stack.prometheus import Alert, Prometheus
    from orderflow.stack.records import Record

RULES: Final = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "rules.yml"
#: How often it looks for alerts, and for a stack that was started again.
LOOK_SECONDS: Final = 2.0


def register(app: typer.Typer) -> None:
    """Add the command to the top level."""
    app.command()(observe)


def observe(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where Prometheus listens. [default: 9090]")
    ] = None,
    rules: Annotated[Path, typer.Option(help="The alert rules.")] = RULES,
) -> None:
    """Run a Prometheus with our alerts beside the stack of this folder; says which fire. Ctrl-C stops it.

    Needs the program `prometheus` (a Debian package). Grafana runs by Compose only.
    """
    from orderflow.stack.errors import StackError

    settings = load_settings()
    if not rules.is_file():
        fail(f"there are no alert rules at {rules}: name the repository's deploy/prometheus/rules.yml with --rules", 2)
    try:
        asyncio.run(_observe(Path(os.path.abspath(settings.data_dir)), port, rules.resolve()))
    except StackError as error:
        fail(str(error))


async def _observe(data_dir: Path, port: int | None, rules: Path) -> None:
    from orderflow.stack.prometheus import binary
    from orderflow.stack.records import Identity, Record, exclusive, stop_left
    from orderflow.stack.stack import RECORD
    from orderflow.stack.supervisor import Supervisor

    binary()  # rather than to say first what is not the reason
    stack = data_dir / RECORD
    record = Record.read(stack)
    if not record.running:
        fail(
            f"no stack runs from {data_dir}: `orderflow up` (or `make up`) in another terminal starts one",
            UNREACHABLE,
        )
    home = data_dir / "prometheus"
    home.mkdir(mode=0o700, exist_ok=True)
    own = home / RECORD
    with exclusive(home / "lock", f"a Prometheus already runs beside {data_dir}"):
        before = Record.read(own)
        await stop_left(before.children)
        prometheus = _prometheus(home, port, before, rules)
        prometheus.prepare(record)

        def note() -> None:
            ports = {"prometheus": prometheus.port}
            Record(Identity.of(os.getpid()), "running", supervisor.left(), ports).write(own)

        supervisor = Supervisor(data_dir / "logs", on_event=say, on_change=note)
        with asked_to_stop() as asked:
            try:
                await until(asked, supervisor.start(prometheus.spec()))
                if not asked.is_set():
                    _greet(prometheus, record)
                    await until(asked, _look(prometheus, stack, record))
            finally:
                await supervisor.stop()


def _prometheus(home: Path, port: int | None, before: "Record", rules: Path) -> "Prometheus":
    from orderflow.stack.ports import choose_ports
    from orderflow.stack.prometheus import Prometheus

    explicit = {} if port is None else {"prometheus": port}
    chosen, moved = choose_ports(["prometheus"], before=before.ports, explicit=explicit, usual=True)
    for other in moved:
        if port is not None:
            fail(f"--port {port}: somebody else listens there")
        out.print(f"port {other.wanted} is taken: prometheus uses {other.chosen}")
    return Prometheus(home, chosen["prometheus"], rules)


def _greet(prometheus: "Prometheus", record: "Record") -> None:
    from orderflow.stack.prometheus import targets_of

    scraped = [name for targets in targets_of(record).values() for name in targets]
    out.print(f"Prometheus runs: {prometheus.url}/alerts, {prometheus.url}/targets, {prometheus.url}/graph")
    out.print(f"It scrapes {', '.join(scraped)} every {prometheus.scrape_seconds:g} s. Alerts will be shown here.")
    out.print("Ctrl-C stops it; the data stays.")


async def _look(prometheus: "Prometheus", stack: Path, record: "Record") -> None:
    """Say which alerts begin and end, and follow a stack that is started again on other ports."""
    import httpx

    from orderflow.stack.prometheus import firing
    from orderflow.stack.records import Record

    fires: dict[str, Alert] = {}
    async with httpx.AsyncClient(base_url=prometheus.url, timeout=5, trust_env=False) as client:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = Record.read(stack)
            if now.running and (now.ports, now.links) != (record.ports, record.links):
                record = now
                prometheus.retarget(record)
            with contextlib.suppress(httpx.HTTPError):  # it is being started again
                before, fires = fires, await firing(client)
                _tell(before, fires)


def _tell(before: "dict[str, Alert]", now: "dict[str, Alert]") -> None:
    """Say what has changed."""
    for word, style, some, others in (("fires", "red", now, before), ("over ", "green", before, now)):
        for key in sorted(some.keys() - others.keys()):
            alert = some[key]
            out.print(word, style=style, end=" ")
            out.print(f"{alert.name}: {alert.summary} → {alert.runbook_url}", soft_wrap=True)
