"""How an order's story and the stuck orders look: on a terminal, and as JSON. Nothing here asks anybody anything."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from cli.pages.orders import status_text
from operations.explain.causes import Verdict
from operations.explain.facts import Facts, StoryLine, status_of
from operations.explain.stuck import Stuck
from operations.words import counted, duration
from orderflow.domain.orders import LIFECYCLE
from orderflow.store.handovers import PendingHandover

_COLOURS: Final = {"wrong": "bold red", "waits": "yellow", "moving": "cyan", "customer": "green", "done": "green"}


def story(facts: Facts, lines: Sequence[StoryLine], verdicts: Sequence[Verdict]) -> RenderableType:
    """The verdict on top, then the timeline."""
    told = [_timeline(lines)] if lines else []
    return Group(_head(facts), *verdict_lines(verdicts), *_unread(facts, verdicts), *told)


def verdict_lines(verdicts: Sequence[Verdict]) -> Iterator[Text]:
    """The first in full, the others below it."""
    for place, verdict in enumerate(verdicts):
        lead = "" if place == 0 else "also: "
        yield Text.assemble(f"  {lead}", (verdict.waits_for, _COLOURS[verdict.kind]))
        yield Text(f"  {'   ' if lead else ''}→ {verdict.do}")


def line_text(line: StoryLine, before: datetime | None) -> Text:
    """One line of the timeline, for ``watch``."""
    after = "" if before is None or line.at < before else f"+{duration(line.at - before)}"
    said = f"{_clock(line.at)}  {after:>10}  {line.source:<9}  {line.what}"
    return Text(said, style="red" if line.trouble else "")


def line_document(line: StoryLine, before: datetime | None) -> dict[str, Any]:
    """The same for programs. ``after_seconds``: since the line before."""
    return {
        "at": _iso(line.at),
        "after_seconds": None if before is None else round((line.at - before).total_seconds(), 6),
        "source": line.source,
        "what": line.what,
        "trouble": line.trouble,
    }


def verdict_document(verdict: Verdict, now: datetime) -> dict[str, Any]:
    """A verdict for programs."""
    since = verdict.since
    return {
        "cause": verdict.cause.value,
        "kind": verdict.kind,
        "waits_for": verdict.waits_for,
        "do": verdict.do,
        "since": None if since is None else _iso(since),
        "for_seconds": None if since is None else round(max((now - since).total_seconds(), 0.0), 3),
    }


def story_document(facts: Facts, lines: Sequence[StoryLine], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The whole story for programs."""
    order, run = facts.order, facts.run
    return {
        "order_id": str(facts.order_id),
        "looked_at": _iso(facts.now),
        "status": status_of(facts),
        "version": order.version if order else 0,
        "handover": _handover(facts.handover),
        "expires_at": None if facts.expires_at is None else _iso(facts.expires_at),
        "workflow": None if run is None else {"state": run.state, "run_id": run.run_id, "ended": run.ended},
        "verdict": verdict_document(verdicts[0], facts.now),
        "also": [verdict_document(verdict, facts.now) for verdict in verdicts[1:]],
        "unread": dict(facts.unread),
        "timeline": [line_document(line, before) for line, before in _with_before(lines)],
    }


def _handover(handover: PendingHandover | None) -> dict[str, Any] | None:
    if handover is None:
        return None
    return {
        "name": handover.name,
        "written_at": _iso(handover.written_at),
        "attempts": handover.attempts,
        "refused": handover.refused,
    }


def is_over(facts: Facts) -> bool:
    """Whether nothing more can happen to the order itself."""
    order, run = facts.order, facts.run
    if run is None or run.state == "running" or facts.handover is not None:
        return False
    return order is not None and LIFECYCLE.is_final(order.status)


def stuck_page(found: Stuck) -> RenderableType:
    """Groups of stuck orders: what they wait for, what to do, and which they are, the longest first."""
    parts: list[RenderableType] = []
    for members in found.groups:
        first = members[0].verdict
        parts.append(Text.assemble((f"{_orders(len(members))}: ", "bold"), (first.group, _COLOURS[first.kind])))
        parts.append(Text(f"  {'e.g. ' if len(members) > 1 else ''}{first.waits_for}"))
        parts.append(Text(f"  → {first.do}"))
        for member in members[:SHOWN]:
            since = member.verdict.since
            waited = f"  for {duration(max(found.now - since, timedelta()))}" if since else ""
            parts.append(Text(f"  {member.order_id}  {member.status or '?':<10}{waited}"))
        if len(members) > SHOWN:
            parts.append(Text(f"  and {len(members) - SHOWN} more: --json lists them all"))
    return Group(*parts)


def stuck_document(found: Stuck) -> dict[str, Any]:
    """The same for programs."""
    return {
        "looked_at": _iso(found.now),
        "orders_looked_at": found.looked_at,
        "orders_not_yet": found.not_yet,
        "orders_left_out": found.left_out,
        "unread": dict(found.unread),
        "stuck": sum(len(members) for members in found.groups),
        "groups": [
            {
                "cause": members[0].verdict.cause.value,
                "what": members[0].verdict.group,
                "do": members[0].verdict.do,
                "orders": [
                    {
                        "order_id": str(member.order_id),
                        "status": member.status,
                        **verdict_document(member.verdict, found.now),
                    }
                    for member in members
                ],
            }
            for members in found.groups
        ],
    }


def _orders(number: int) -> str:
    return counted(number, "order")


#: Orders of a group that are named on a terminal.
SHOWN: Final = 10


def _head(facts: Facts) -> Text:
    status = status_of(facts)
    text = Text(f"{facts.order_id}  ")
    text.append_text(status_text(status, facts.reason) if status else Text("not there", style="red"))
    if facts.order is not None:
        text.append(f"  version {facts.order.version}")
    return text


def _unread(facts: Facts, verdicts: Sequence[Verdict]) -> Iterator[Text]:
    """What no verdict names."""
    for source, error in facts.unread.items():
        if all(verdict.unread != source for verdict in verdicts):
            yield Text(f"  not read: {source} ({error})", style="yellow")


def _timeline(lines: Sequence[StoryLine]) -> RenderableType:
    table = Table(
        Column("time (UTC)", no_wrap=True),
        Column("after", justify="right", no_wrap=True),
        Column("source", no_wrap=True),
        Column("what", overflow="fold"),
        box=box.SIMPLE,
    )
    day = None
    for line, before in _with_before(lines):
        at = _clock(line.at) if line.at.date() == day else f"{line.at:%Y-%m-%d} {_clock(line.at)}"
        day = line.at.date()
        after = "" if before is None else duration(line.at - before)
        table.add_row(at, after, line.source, Text(line.what, style="red" if line.trouble else ""))
    return table


def _with_before(lines: Iterable[StoryLine]) -> Iterator[tuple[StoryLine, datetime | None]]:
    before = None
    for line in lines:
        yield line, before
        before = line.at


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S.%f}"[:-3]


def _iso(at: datetime) -> str:
    return at.isoformat()
