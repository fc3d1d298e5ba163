"""Foreign records on the topic, and the faults themselves: that they happened, and what came of them."""

from collections import Counter
from collections.abc import Iterator

from tools.chaos.evidence import Evidence
from tools.chaos.marks import is_event
from tools.chaos.rules_stream import SECOND_GROUP, TRACKING_GROUP

_GROUPS = (TRACKING_GROUP, SECOND_GROUP)


def faults_were_felt(evidence: Evidence) -> Iterator[str]:
    """Of every kind of fault that can miss, at least one has hit something."""
    yield from (f"{kind}: it hit nothing" for kind, times in evidence.felt.items() if not times)


def dead_letters_are_foreign(evidence: Evidence) -> Iterator[str]:
    """No event of ours was set aside, and no event of anybody."""
    for letter in evidence.dead_letters:
        if letter["mark"] is None or is_event(letter["mark"]):
            what = letter["mark"] or f"a record of {letter['subject'] or 'no order'}"
            yield f"{letter['consumer_group']} set {what} aside ({letter['kind']}): {letter['reason']}"


def foreign_records_were_passed(evidence: Evidence) -> Iterator[str]:
    """Each foreign record that is on the topic: an event took effect once, anything else was set aside, in each group.

    An event of another source stands in the timeline of its order, and moves nothing.
    """
    aside = Counter((letter["consumer_group"], letter["mark"]) for letter in evidence.dead_letters)
    effects = Counter((e["source"], e["order_id"], e["version"]) for e in evidence.effects)
    timeline = Counter((e["source"], e["order_id"], e["version"]) for e in evidence.tracked_events)
    for record in evidence.foreign:
        mark = record["mark"]
        where = f"{mark} at {record['partition']}/{record['offset']}"
        if is_event(mark):
            event = record["source"], record["subject"], int(record["sequence"])
            if effects[event] != 1:
                yield f"{where} took effect {effects[event]} times"
            if timeline[event] != 1:
                yield f"{where} is in the timeline {timeline[event]} times"
            continue
        for group in _GROUPS:
            if aside[group, mark] != 1:
                yield f"{where} was set aside {aside[group, mark]} times by {group}"
