"""What an order's events wait for: Kafka, the relay, people who unpark them, the tracking. Pure."""

from collections.abc import Iterator

from operations.explain.causes import Cause, Verdict
from operations.explain.facts import Facts, OutboxState, late
from operations.words import clock, one_or_many, short


def stream(facts: Facts) -> Iterator[Verdict]:
    """Where its events do not reach Kafka: parked, a stopped partition, Kafka or the relay away."""
    for outbox in facts.outboxes:
        if outbox.forgotten:
            versions = ", ".join(map(str, outbox.forgotten))
            yield Verdict(
                Cause.EVENTS_FORGOTTEN,
                "wrong",
                f"Nobody publishes its {outbox.service} {one_or_many(len(outbox.forgotten), 'event', 'events')} "
                f"{versions}: somebody deleted {one_or_many(len(outbox.forgotten), 'it', 'them')} from the outbox.",
                "`orderflow reconcile --repair` puts back what was deleted; the order itself goes on.",
                outbox.forgotten_since,
                "events deleted from an outbox",
            )
        if outbox.parked_error is not None:
            yield Verdict(
                Cause.PARKED,
                "wrong",
                f"Its {outbox.service} events wait for people: Kafka refuses version {outbox.parked_version} "
                f"({short(outbox.parked_error)}), so that one and all after it are parked.",
                f"Change the topic's limits, then `orderflow outbox unpark {facts.order_id}`; the order itself "
                "goes on.",
                outbox.parked_at,
                f"parked: {short(outbox.parked_error, 60)}",
            )
    for number in sorted({s.stopped_partition for s in facts.outboxes if s.stopped_partition is not None}):
        yield _stopped(number, [outbox for outbox in facts.outboxes if outbox.stopped_partition == number])
    behind = [s for s in facts.outboxes if _waits_for_the_relay(s) and s.oldest_at and late(facts, s.oldest_at)]
    if not behind:
        return
    since = min(outbox.oldest_at for outbox in behind if outbox.oldest_at is not None)
    waiting = sum(outbox.waiting for outbox in behind)
    what = f"{waiting} of its events {one_or_many(waiting, 'waits', 'wait')} since {clock(since)}"
    if facts.kafka_error:
        yield Verdict(
            Cause.KAFKA_AWAY,
            "waits",
            f"The stream waits for Kafka: {what}, and Kafka does not answer ({facts.kafka_error}).",
            "Start Kafka, or see the network between; the relay catches up by itself, and the order goes on meanwhile.",
            since,
            "Kafka does not answer",
        )
        return
    unled = [outbox.service for outbox in behind if not outbox.led]
    if unled:
        named = " and ".join(unled)
        said, do, group = f"no relay leads for {named}", "Start one: `orderflow worker relay`", "no relay leads"
    else:
        said, do = "a relay leads, and Kafka answers", "See `orderflow outbox status` and the relay's log"
        group = "the relay does not publish"
    yield Verdict(
        Cause.RELAY_AWAY,
        "waits",
        f"The stream waits for the relay: {what}, {said}.",
        f"{do}; it catches up by itself, and the order goes on meanwhile.",
        since,
        group,
    )


def _stopped(partition: int, outboxes: list[OutboxState]) -> Verdict:
    services = " and ".join(outbox.service for outbox in outboxes)
    why, group = f"Kafka lost records of partition {partition} that it had acknowledged", "Kafka lost records of"
    if any(outbox.made_anew for outbox in outboxes):
        why, group = f"the topic was made anew, and partition {partition} lacks what was published before", "new topic:"
    return Verdict(
        Cause.PARTITION_STOPPED,
        "wrong",
        f"Its {services} events wait for people: {why}, so nothing is sent there.",
        f"`orderflow outbox republish --partition {partition}` sends the missing events again, and these after them; "
        "the order itself goes on.",
        min((outbox.stopped_at for outbox in outboxes if outbox.stopped_at is not None), default=None),
        f"{group} partition {partition}",
    )


def _waits_for_the_relay(outbox: OutboxState) -> bool:
    return outbox.parked_error is None and outbox.stopped_partition is None


def tracking(facts: Facts) -> Iterator[Verdict]:
    """Where the tracking does not apply what is published: a dead letter, or it is behind."""
    tracked = facts.tracked
    if tracked.set_aside is not None:
        yield Verdict(
            Cause.TRACKING_BEHIND,
            "wrong",
            f"Its tracking is held: a record was set aside ({short(tracked.set_aside)}), and all after it.",
            f"Fix the cause (`orderflow dlq list --order {facts.order_id}`), then "
            f"`orderflow dlq redrive --order {facts.order_id}`; what is no event is given up by "
            "`orderflow dlq discard`. The order itself goes on.",
            tracked.set_aside_at,
            f"dead letter: {short(tracked.set_aside, 60)}",
        )
    elif tracked.missing and tracked.oldest_at is not None and late(facts, tracked.oldest_at):
        what = one_or_many(tracked.missing, "published event is", "published events are")
        yield Verdict(
            Cause.TRACKING_BEHIND,
            "waits",
            f"Its tracking is behind: {tracked.missing} {what} not applied, the oldest of {clock(tracked.oldest_at)}.",
            "Start the tracking consumer (`orderflow worker tracking`) or see its log; only what the API shows of "
            "payment and inventory is old.",
            tracked.oldest_at,
            "the tracking is behind",
        )
