"""What the databases, the gateway and Kafka say of an order, as lines; and all lines as one timeline. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from operations.explain.causes import Source
from operations.explain.facts import Facts, StoryLine
from operations.words import duration, times
from orderflow.gateways.lookup import GatewayPayment
from orderflow.store import truncation
from orderflow.store.tracking import TrackedOrder
from orderflow.store.trail import Recorded, Trail

#: Published later than this after it was recorded, or tracked later than this after it was published, is worth a look.
SLOW: Final = timedelta(seconds=5)
#: Repairs and interventions stand among the commands as well: they changed nothing in the order's row.
_BY: Final = {"repaired": "reconciliation", "operator": "an operator"}
#: Shutting a door that has nothing behind it is what a cancelled order comes to, not a refusal that concerns anybody.
_DOORS: Final = frozenset({"w:void", "w:release"})
_TOO_LATE: Final = frozenset({"CAPTURED", "COMMITTED"})


def of_trail(service: Source, trail: Trail) -> Iterator[StoryLine]:
    """A service's events and what it refused."""
    for event in trail.events:
        what = f"{event.type}: {event.status}{_why(event.data)}, version {event.version}"
        yield StoryLine(event.recorded_at, service, what)
    for asked in trail.asked:
        if asked.refusal is None:
            yield StoryLine(asked.recorded_at, service, f"{asked.name} accepted ({asked.command_id}), not done yet")
            continue
        slug = asked.refusal.get("slug")
        detail = asked.refusal.get("detail") or slug
        if asked.command_id in _DOORS and slug == "illegal_transition":
            found = asked.refusal.get("current_status")
            came = "came too late" if found in _TOO_LATE else "found nothing to undo"
            yield StoryLine(
                asked.recorded_at, service, f"{asked.name} ({asked.command_id}) {came}: {found}", found in _TOO_LATE
            )
        elif slug in _BY:
            yield StoryLine(asked.recorded_at, service, f"{asked.name} by {_BY[slug]} ({asked.command_id}): {detail}")
        else:
            yield StoryLine(asked.recorded_at, service, f"{asked.name} refused ({asked.command_id}): {detail}")


def _why(data: Mapping[str, Any]) -> str:
    """The reason; where both steps refused, which of them refused for what."""
    refusals = data.get("refusals")
    if isinstance(refusals, Mapping) and len(refusals) > 1:
        return f" ({', '.join(f'{service}: {reason}' for service, reason in refusals.items())})"
    reason = data.get("reason")
    return f" ({reason})" if reason else ""


def of_stream(service: Source, trail: Trail, tracked: Mapping[tuple[str, int], datetime]) -> Iterator[StoryLine]:
    """Where a service's events stand on Kafka, and when the tracking had them."""
    for event in trail.events:
        if event.published_at is not None:
            yield _published(service, event, tracked.get((service, event.version)))
        elif event.waits and trail.relay.parked_at is None:
            waited = trail.relay.now - event.recorded_at
            what = f"{service} version {event.version} is not on Kafka yet, after {duration(waited)}"
            if trail.relay.stopped_partition is not None:
                anew = trail.relay.stopped_cause == truncation.Cause.MADE_ANEW
                why = "lacks what was there before the topic was made anew" if anew else "has lost records"
                what += f": partition {trail.relay.stopped_partition}, where it belongs, {why}"
            yield StoryLine(trail.relay.now, "kafka", what, waited > SLOW, f"{service} {event.version} waits")
    relay = trail.relay
    if relay.parked_at is not None:
        what = f"{service} parked at version {relay.parked_version}: {relay.parked_error}"
        yield StoryLine(relay.parked_at, "kafka", what, True)


def _published(service: Source, event: Recorded, tracked_at: datetime | None) -> StoryLine:
    at = event.published_at or event.recorded_at
    late = at - event.recorded_at
    what = where = f"{service} version {event.version} at partition {event.partition}, offset {event.offset}"
    what += f", {duration(late)} after it was recorded" if late > SLOW else ""
    if tracked_at is None:
        return StoryLine(at, "kafka", f"{what}; not tracked", late > SLOW, where)
    behind = max(tracked_at - at, timedelta())
    return StoryLine(at, "kafka", f"{what}; tracked {duration(behind)} later", max(late, behind) > SLOW, where)


def of_gateway(payment: GatewayPayment) -> Iterator[StoryLine]:
    """Every call that the gateway noted."""
    said = {
        "answered": "answered",
        "replayed": "asked again, the same answer",
        "lost": "happened, its answer was lost",
        "failed": "failed",
    }
    for call in payment.calls:
        what = f"{call.operation}: {call.status}, {said.get(call.outcome, call.outcome)}"
        yield StoryLine(call.called_at, "gateway", what, call.outcome in ("lost", "failed"))


def under_way(facts: Facts) -> Iterator[StoryLine]:
    """What Temporal has no event of yet: steps whose attempts fail or that nobody takes."""
    for step in facts.run.steps if facts.run else ():
        if step.failure is not None and step.failed_at is not None:
            what = f"{step.name} has failed {times(step.attempt - 1)}, last: {step.failure}"
            yield StoryLine(step.failed_at, "temporal", what, True)
        if step.paused is not None:
            yield StoryLine(step.paused.at, "temporal", f"{step.name} was paused", True)
        elif step.started and step.started_at is not None:
            yield StoryLine(step.started_at, "temporal", f"{step.name} taken, attempt {step.attempt}", step.attempt > 1)
        elif facts.now > step.due_at:
            waited = duration(facts.now - step.due_at)
            yield StoryLine(
                facts.now, "temporal", f"{step.name} waits for a worker, for {waited}", True, f"{step.name} waits"
            )
    paused = facts.run.paused if facts.run else None
    if paused is not None:
        yield StoryLine(paused.at, "temporal", "the workflow was paused", True)
    task = facts.run.task if facts.run else None
    if task is not None and task.started_at is None and facts.now - task.scheduled_at > timedelta(seconds=1):
        waited = duration(facts.now - task.scheduled_at)
        what = f"a workflow task waits for an orders worker, for {waited}"
        yield StoryLine(facts.now, "temporal", what, True, f"task waits since {task.scheduled_at}")
    elif task is not None and task.attempt > 1 and task.failure is not None:
        at = task.started_at or facts.now
        yield StoryLine(at, "temporal", f"its workflow task is tried again, attempt {task.attempt}", True)


def of_handover(facts: Facts) -> Iterator[StoryLine]:
    """That Temporal has not been told of the order's last command."""
    handover = facts.handover
    if handover is None:
        return
    waited = facts.now - handover.written_at
    tried = f", tried {times(handover.attempts)}" if handover.attempts else ""
    what = f"Temporal has not been told of {handover.name} yet, after {duration(waited)}{tried}"
    what += f": it refuses it ({handover.refused})" if handover.refused else ""
    trouble = handover.refused is not None or waited > SLOW
    yield StoryLine(facts.now, "orders", what, trouble, f"{handover.name} not told since {handover.written_at}")


def tracked_times(tracked: TrackedOrder | None) -> dict[tuple[str, int], datetime]:
    """When the tracking had each event, by service and version."""
    entries = tracked.timeline if tracked else ()
    return {(entry.source.rpartition("/")[2], entry.version): entry.tracked_at for entry in entries}


def timeline(lines: Iterable[StoryLine]) -> list[StoryLine]:
    """By time; at the same moment the cause (Temporal, a row) before what follows (the gateway's, Kafka's)."""
    return sorted(lines, key=lambda line: line.at)
