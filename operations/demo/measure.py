"""Figures of a run: how fast, and how they were measured."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from operations.demo.evidence import Evidence
from operations.demo.run import Story


@dataclass(frozen=True, slots=True)
class Latency:
    """How long it took, in milliseconds, for ``orders`` orders."""

    orders: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Spans:
    """approve → FULFILLING, of orders that became FULFILLING.

    ``seen``: from the approve request being sent to FULFILLING seen by the client. ``recorded``: from the request
    being sent to the event's recorded_at (one machine, one clock). ``inside``: from ORDER_APPROVED's recorded_at to
    FULFILLING's.
    """

    seen: Latency | None
    recorded: Latency | None
    inside: Latency | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run came to. ``crowd_seconds``: from the first order placed to the last one ended."""

    by_status: dict[tuple[str, str | None], int]
    idle: Spans
    crowd: Spans
    crowd_orders: int
    crowd_seconds: float
    recorded_events: int
    records: int
    consumed: int

    @property
    def orders_per_second(self) -> float:
        """Whole lifecycles, cancelled ones among them."""
        return self.crowd_orders / self.crowd_seconds if self.crowd_seconds else 0.0

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        data = asdict(self)
        data["by_status"] = [
            {"status": status, "reason": reason, "orders": count} for (status, reason), count in self.by_status.items()
        ]
        return {**data, "orders_per_second": round(self.orders_per_second, 2)}


def measure(evidence: Evidence, idle: Sequence[Story], crowd: Sequence[Story]) -> Figures:
    """The figures of the orders that were measured one at a time, and of the crowd."""
    began = min((story.placed_at for story in crowd), default=0.0)
    ended = max((story.ended_at or 0.0 for story in crowd), default=0.0)
    counted = Counter((row["status"], row["reason"]) for row in evidence.rows["orders"].values())
    return Figures(
        by_status=dict(sorted(counted.items(), key=lambda item: (item[0][0] == "CANCELLED", -item[1]))),
        idle=_spans(evidence, idle),
        crowd=_spans(evidence, crowd),
        crowd_orders=len(crowd),
        crowd_seconds=ended - began,
        recorded_events=len(evidence.events),
        records=len(evidence.stream),
        consumed=evidence.consumed,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed. Raises ValueError for none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _spans(evidence: Evidence, stories: Iterable[Story]) -> Spans:
    fulfilled = [story for story in stories if story.fulfilled]
    times = _times(evidence, {story.order_id for story in fulfilled})
    seen, recorded, inside = list[float](), list[float](), list[float]()
    for story in fulfilled:
        if story.approve_sent_at is None or story.decided_at is None or story.order_id not in times:
            continue
        approved_at, fulfilling_at = times[story.order_id]
        seen.append(story.decided_at - story.approve_sent_at)
        recorded.append(fulfilling_at.timestamp() - story.approve_sent_at)
        inside.append((fulfilling_at - approved_at).total_seconds())
    return Spans(_latency(seen), _latency(recorded), _latency(inside))


def _times(evidence: Evidence, wanted: set[UUID]) -> dict[UUID, tuple[datetime, datetime]]:
    at: dict[tuple[UUID, str], datetime] = {}
    for (service, order_id, _), event in evidence.events.items():
        if service == "orders" and order_id in wanted:
            at[order_id, event.status] = event.recorded_at
    return {
        order_id: (at[order_id, "APPROVED"], at[order_id, "FULFILLING"])
        for order_id in wanted
        if (order_id, "APPROVED") in at and (order_id, "FULFILLING") in at
    }


def _latency(seconds: Sequence[float]) -> Latency | None:
    if not seconds:
        return None
    return Latency(len(seconds), *(round(percentile(seconds, share) * 1000, 1) for share in (0.5, 0.95)))
