"""What a run amounts to: faults by kind, orders by end, the longest stall, and each rule."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.chaos.evidence import Evidence

#: Sentences of a broken rule on the terminal; the report file has all.
SHOWN = 10
#: Of the longest stalls.
STALLS = 3


@dataclass(frozen=True, slots=True)
class Stall:
    """For how many seconds an order that had something to do did not move, and what it had to do."""

    seconds: float
    order_id: str
    what: str


def longest_stalls(evidence: Evidence) -> list[Stall]:
    """The longest waits, one an order, for anything that was due: a command, a decision, the stock, the doors."""
    stalls: list[Stall] = []
    recorded = {(c["order_id"], c["command_id"]): c["recorded_at"] for c in evidence.commands["orders"]}
    first_sent: dict[tuple[str, str], float] = {}
    for sent in evidence.ledger:
        if sent.get("order_id") and sent.get("key") and sent["kind"] != "ask" and not sent["conflict"]:
            first_sent.setdefault((sent["order_id"], f"c:{sent['key']}"), sent["at"])
    for command, at in first_sent.items():
        if command in recorded:
            stalls.append(Stall(recorded[command] - at, command[0], f"carry out {command[1]}"))
    happened: dict[str, dict[str, float]] = defaultdict(dict)
    for events in evidence.events.values():
        for event in events:
            happened[event["order_id"]].setdefault(event["status"], event["recorded_at"])
    duties = (
        ("APPROVED", ("FULFILLING", "CANCELLED"), "be decided"),
        ("SHIPPED", ("COMMITTED",), "commit its stock"),
        ("CANCELLED", ("VOIDED", "DECLINED"), "void its payment"),
        ("CANCELLED", ("RELEASED", "REJECTED"), "release its stock"),
    )
    for order_id, times in happened.items():
        for since, ends, what in duties:
            until = [times[end] for end in ends if end in times]
            if since in times and until:
                stalls.append(Stall(min(until) - times[since], order_id, what))
    longest = {stall.order_id: stall for stall in sorted(stalls, key=lambda stall: stall.seconds)}
    return sorted(longest.values(), key=lambda stall: -stall.seconds)[:STALLS]


def longest_silence(evidence: Evidence) -> float:
    """The longest time from an event to its publication, in seconds."""
    published = {
        (service, row["order_id"], row["version"]): row["published_at"]
        for service, rows in evidence.publications.items()
        for row in rows
    }
    waits = (
        published[service, event["order_id"], event["version"]] - event["recorded_at"]
        for service, events in evidence.events.items()
        for event in events
        if (service, event["order_id"], event["version"]) in published
    )
    return max(waits, default=0.0)


def ends(evidence: Evidence) -> Counter[str]:
    """Orders by status and reason."""
    return Counter(
        f"{row['status']} ({row['reason']})" if row["reason"] else row["status"] for row in evidence.rows["orders"]
    )


def say(
    console: Console,
    evidence: Evidence,
    broken: Mapping[str, list[str]],
    faults: Counter[str],
    *,
    seconds: float,
) -> None:
    """Print it."""
    table = Table(title="faults by kind")
    table.add_column("kind")
    table.add_column("times", justify="right")
    table.add_column("felt", justify="right")
    for kind, times in sorted(faults.items()):
        table.add_row(escape(kind), str(times), str(evidence.felt.get(kind, "")))
    table.add_row(f"{len(faults)} kinds", str(faults.total()), style="bold")
    console.print(table)
    table = Table(title="orders by end")
    table.add_column("end")
    table.add_column("orders", justify="right")
    for end, number in sorted(ends(evidence).items()):
        table.add_row(end, str(number))
    table.add_row("all", str(len(evidence.rows["orders"])), style="bold")
    console.print(table)
    sent = [entry for entry in evidence.ledger if entry["say"] == "sent"]
    lost = sum(entry["lost"] is not None for entry in sent)
    away = sum(entry["told"] is not None and entry["told"]["status"] == 503 for entry in sent)
    events = sum(map(len, evidence.events.values()))
    console.print(
        f"{len(sent)} requests, {lost} without an answer, {away} answered 503; {events} events, "
        f"{len(evidence.records)} records on Kafka beside {len(evidence.foreign)} foreign ones, "
        f"{len(evidence.dead_letters)} dead letters; {len(evidence.workflows)} workflows, of which "
        f"{sum(not workflow['id'].startswith('order-') for workflow in evidence.workflows)} are reconciliations"
    )
    for stall in longest_stalls(evidence):
        console.print(f"longest stall: {stall.seconds:.1f} s (order {stall.order_id} had to {escape(stall.what)})")
    console.print(f"longest way of an event to Kafka: {longest_silence(evidence):.1f} s; {seconds:.0f} s in all")
    for rule, wrong in broken.items():
        console.print(f"  [green]holds[/]   {rule}" if not wrong else f"  [red]BROKEN[/]  {rule}: {len(wrong)} times")
        for sentence in wrong[:SHOWN]:
            console.print(f"            {escape(sentence)}", soft_wrap=True)
