"""Kafka against the events, and what consumers made of Kafka. Records are read by their raw headers.

What bears no stranger's mark is ours, whatever it says of itself.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from tools.chaos.evidence import SERVICES, Evidence, Row, Rows

#: An event: service, order, version.
Id = tuple[str, str, int]

_PARTS: Final = {"orders": ("order", "reason"), "payments": ("payment", "payment_reason")}
_TRACKED: Final = {**_PARTS, "inventory": ("inventory", "inventory_reason")}
#: An event may have waited so long for Kafka when its topic was deleted.
UNSENT_SECONDS: Final = 60.0
OUR_SOURCES: Final = frozenset(f"/orderflow/{service}" for service in SERVICES)
TRACKING_GROUP: Final = "order-tracking"
SECOND_GROUP: Final = "chaos-consumer"


def kafka_is_events(evidence: Evidence) -> Iterator[str]:
    """The topic holds exactly the events, each at least once, each saying what the event says."""
    events = _events(evidence)
    seen: set[Id] = set()
    for record in evidence.records:
        where = f"{record['partition']}/{record['offset']}"
        try:
            event_id = identity(record)
            body = json.loads(record["value"])
        except (KeyError, ValueError) as error:
            yield f"the record at {where} is no event: {error!r}"
            continue
        event = events.get(event_id)
        if event is None:
            yield f"{name(event_id)} at {where} is in no database"
            continue
        seen.add(event_id)
        headers = record["headers"]
        said = {
            "key": record["key"],
            "id": headers.get("ce_id"),
            "type": headers.get("ce_type"),
            "order_id": body.get("order_id"),
            "version": body.get("version"),
            "status": body.get("status"),
            "data": body.get("data"),
        }
        due = {
            "key": event_id[1],
            "id": name(event_id),
            "type": event["type"],
            "order_id": event_id[1],
            "version": event_id[2],
            "status": event["status"],
            "data": event["data"],
        }
        yield from (f"{name(event_id)} at {where}: its {part} differs" for part in due if said[part] != due[part])
    yield from (f"{name(event_id)} is not on Kafka" for event_id in sorted(events.keys() - seen))


def kafka_in_order(evidence: Evidence) -> Iterator[str]:
    """First occurrences in version order per source and order, up to the last; an order's records in one partition.

    On a topic that was made anew an event may stand before its order's earlier ones, which were sent to the topic
    before, if it happened while nobody had repaired that. What comes then must be complete, in order.
    """
    partitions: dict[str, int] = {}
    last: dict[tuple[str, str], int] = defaultdict(int)
    early = _early(evidence)
    overtaken: dict[tuple[str, str], int] = defaultdict(int)
    for record in evidence.records:
        try:
            service, order_id, version = identity(record)
        except (KeyError, ValueError):
            continue  # the rule above says it
        if partitions.setdefault(record["key"], record["partition"]) != record["partition"]:
            yield f"order {record['key']} is in partitions {partitions[record['key']]} and {record['partition']}"
        of = (service, order_id)
        if version == last[of] + 1:
            last[of] = version
        elif version > last[of]:
            overtaken[of] = max(version, overtaken[of])
            if (service, order_id, version) not in early:
                yield f"{name((service, order_id, version))} came right after version {last[of]}"
    for of, version in overtaken.items():
        if last[of] < version and (*of, version) in early:
            yield f"{name((*of, version))} came, and before it only up to version {last[of]}"


def published_where_it_says(evidence: Evidence) -> Iterator[str]:
    """Every event has left the outbox, and stands on Kafka where its publication says."""
    places = {(record["partition"], record["offset"]): record for record in evidence.records}
    for service in SERVICES:
        yield from (f"{service} {e['order_id']} {e['version']} is in the outbox" for e in evidence.outbox[service])
        yield from (f"{service} {e['order_id']} is parked: {e['error']}" for e in evidence.parked[service])
        published = {(row["order_id"], row["version"]): row for row in evidence.publications[service]}
        for event in evidence.events[service]:
            event_id = (service, event["order_id"], event["version"])
            row = published.get(event_id[1:])
            record = places.get((row["partition"], row["offset"])) if row else None
            if row is None:
                yield f"{name(event_id)} was never published"
            elif record is None or record["headers"].get("ce_id") != name(event_id):
                yield f"{name(event_id)} is not at {row['partition']}/{row['offset']}"


def tracking_is_truth(evidence: Evidence) -> Iterator[str]:
    """``order_state_tracking`` and its timeline are what the three databases say."""
    tracked = {row["order_id"]: row for row in evidence.tracking}
    for service in SERVICES:
        part, reason = _TRACKED[service]
        truth = {row["order_id"]: row for row in evidence.rows[service]}
        for order_id in truth.keys() | tracked.keys():
            row, seen = truth.get(order_id, {}), tracked.get(order_id, {})
            said = (seen.get(f"{part}_status"), seen.get(f"{part}_version"), seen.get(reason))
            if said != (row.get("status"), row.get("version"), row.get("reason")):
                yield f"{service} {order_id} is {row.get('status')} {row.get('version')}, tracked as {said}"
    timeline = {(_service(e["source"]), e["order_id"], e["version"]): e for e in _ours(evidence.tracked_events)}
    events = _events(evidence)
    for event_id in events.keys() ^ timeline.keys():
        yield f"{name(event_id)} is in {'no' if event_id in events else 'the'} timeline only"
    for event_id in events.keys() & timeline.keys():
        if (events[event_id]["type"], events[event_id]["status"]) != (
            timeline[event_id]["type"],
            timeline[event_id]["status"],
        ):
            yield f"{name(event_id)} is another event in the timeline"
    yield from _inbox(evidence.processed, TRACKING_GROUP, events)


def effects_once(evidence: Evidence) -> Iterator[str]:
    """The second consumer's effect of every event happened once, in version order (see ``kafka_in_order``)."""
    events = _events(evidence)
    early = _early(evidence)
    effects = list(_ours(evidence.effects))
    seen = Counter((_service(e["source"]), e["order_id"], e["version"]) for e in effects)
    yield from (f"{name(event_id)} took effect {times} times" for event_id, times in seen.items() if times > 1)
    yield from (f"{name(event_id)} took no effect" for event_id in events.keys() - seen.keys())
    yield from (f"{name(event_id)} took effect, and is in no database" for event_id in seen.keys() - events.keys())
    last: dict[tuple[str, str], int] = defaultdict(int)
    for effect in effects:
        of = (effect["source"], effect["order_id"])
        if (_service(effect["source"]), effect["order_id"], effect["version"]) in early:
            continue  # it may have overtaken others, and does not count when they come
        if effect["version"] < last[of]:
            yield f"{effect['source']} {effect['order_id']}: version {effect['version']} after {last[of]}"
        last[of] = effect["version"]
    yield from _inbox(evidence.effects_processed, SECOND_GROUP, events)


def identity(record: Row) -> Id:
    """Which event a record is. Raises KeyError or ValueError."""
    headers = record["headers"]
    return _service(headers["ce_source"]), headers["ce_subject"], int(headers["ce_sequence"])


def name(event_id: Id) -> str:
    """As ``ce_id`` has it."""
    return "/".join(map(str, event_id))


def _inbox(processed: list[Row], group: str, events: dict[Id, Any]) -> Iterator[str]:
    own = (p for p in _ours(processed) if p["consumer_group"] == group)
    inbox = {(_service(p["source"]), p["subject"], p["sequence"]) for p in own}
    if inbox != events.keys():
        yield f"the inbox of {group} has {len(inbox - events.keys())} too many, {len(events.keys() - inbox)} too few"


def _events(evidence: Evidence) -> dict[Id, Row]:
    return {(s, e["order_id"], e["version"]): e for s in SERVICES for e in evidence.events[s]}


def _early(evidence: Evidence) -> set[Id]:
    """What happened while the topic was made anew, or just before: it may have been sent before what was lost."""
    spans = evidence.topic_made_anew
    return {
        event_id
        for event_id, event in _events(evidence).items()
        if any(began - UNSENT_SECONDS < event["recorded_at"] < ended for began, ended in spans)
    }


def _ours(rows: Rows) -> Iterator[Row]:
    """Those whose source is one of the three services. Of events of other sources ``rules_foreign`` says what holds."""
    return (row for row in rows if row["source"] in OUR_SOURCES)


def _service(source: str) -> str:
    return source.removeprefix("/orderflow/")
