"""Whether Temporal has been told that it must look at the order. Pure."""

from collections.abc import Iterator

from operations.explain.causes import Cause, Verdict
from operations.explain.facts import Facts, late
from operations.explain.pollers import again, seen_polling
from operations.words import age, short, times
from orderflow.temporal.names import ORDERS_QUEUE, workflow_id


def handover(facts: Facts) -> Iterator[Verdict]:
    """Where it has not: Temporal refuses the message, or no dispatcher has sent it."""
    waiting = facts.handover
    if waiting is None:
        return
    written = f"{waiting.name}, written {age(facts.now, waiting.written_at)} ago"
    if waiting.refused is not None:
        refused = short(waiting.refused)
        yield Verdict(
            Cause.HANDOVER_REFUSED,
            "wrong",
            f"It waits for its workflow, which has not heard of {written}: Temporal refuses the message ({refused}).",
            f"It is sent again {again(facts.now, waiting.next_at)} A run that had too many signals begins anew when no "
            "more come; if it does not, end it (`temporal workflow terminate --workflow-id "
            f"{workflow_id(facts.order_id)}`): the next message begins a new one, which goes on from the row.",
            waiting.written_at,
            f"Temporal refuses the message: {short(waiting.refused, 60)}",
        )
    elif "temporal" not in facts.unread and late(facts, waiting.written_at):
        tried = f"a dispatcher tried {times(waiting.attempts)} without an answer"
        do = "See the log of the orders workers (handovers_wait): they do not reach Temporal; it is sent again "
        do += again(facts.now, waiting.next_at)
        if not waiting.attempts:
            seen, start = seen_polling(facts, ORDERS_QUEUE, waiting.written_at)
            tried, do = f"no dispatcher has taken it, and of the orders workers {seen}", start
        yield Verdict(
            Cause.HANDOVER_WAITS,
            "waits",
            f"It waits for Temporal to be told: its workflow has not heard of {written} ({tried}).",
            do,
            waiting.written_at,
            "Temporal has not been told",
        )
