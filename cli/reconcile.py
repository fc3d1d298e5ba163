"""``orderflow reconcile``: what does not fit together, and, with ``--repair``, its safe repairs.

It reads the stores itself, so that it also answers while every worker is down. Exit codes: 0 nothing is left, 1 there
are findings that were not repaired, 2 wrong usage, 3 a store does not answer.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calls import REFUSED, UNREACHABLE, print_json_line
from cli.stores import as_seconds, silence
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from operations.reconciliation.findings import Report
    from orderflow.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reconcile")(reconcile)


def reconcile(
    repair: Annotated[
        bool, typer.Option("--repair", help="Do the safe repairs. Without it nothing is changed.")
    ] = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than", parser=as_seconds, metavar="SECONDS", help="Only what has been so for longer (60)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False,
) -> None:
    """Compare the databases, Temporal and the payment gateway's ledger."""
    from orderflow.domain.errors import Unavailable

    try:
        report = asyncio.run(_reconcile(running_settings(), repair, older_than))
    except Unavailable as error:
        fail(f"{error.dependency} {error.complaint}: {error.detail}", UNREACHABLE)
    if as_json:
        print_json_line(report.model_dump(mode="json"))
    else:
        _print(report)
    if report.left:
        raise typer.Exit(REFUSED)


async def _reconcile(settings: "Settings", repair: bool, older_than: float | None) -> "Report":
    from operations.reconciliation.findings import Reconcile
    from operations.reconciliation.stores import reconcile

    silence()
    return await reconcile(settings, Reconcile(repair=repair, older_than_seconds=older_than))


def _print(report: "Report") -> None:
    from rich.text import Text

    from cli.pages import reconcile as pages
    from operations.reconciliation.findings import ABOUT
    from operations.words import counted

    for handled in report.findings:
        out.print(pages.finding(handled), soft_wrap=True)
    for kind in dict.fromkeys(handled.finding.kind for handled in report.findings):
        err.print(f"{kind}: {ABOUT[kind].meaning}\n  {ABOUT[kind].in_words}")
    found, left = len(report.findings), report.left
    said = f"{report.live_orders} open orders at {report.looked_at:%Y-%m-%d %H:%M:%SZ}: "
    if not found:
        out.print(Text.assemble(said, ("everything fits together", "green")))
        return
    repairable = sum(
        handled.finding.repair is not None and handled.outcome != "repaired" for handled in report.findings
    )
    hint = "; `orderflow reconcile --repair` repairs " + str(repairable) if repairable and not report.repair else ""
    out.print(f"{said}{counted(found, 'finding')}, {found - left} repaired{hint}")
