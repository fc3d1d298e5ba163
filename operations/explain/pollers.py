"""Who takes tasks from a queue, and when something is tried again, in words. Pure."""

from datetime import datetime

from operations.explain.facts import Facts, Queue
from operations.words import age, clock, waiting
from orderflow.temporal.names import ROLE_OF_QUEUE


def seen_polling(facts: Facts, name: str, since: datetime) -> tuple[str, str]:
    """What is known of a task queue's workers, and what to do about it."""
    queue = facts.queues.get(name, Queue(name))
    start = f"Start one: `orderflow worker {ROLE_OF_QUEUE.get(name, name)}`; the order goes on by itself."
    if queue.polled_at is None:
        return f"nobody has polled for {age(facts.now, since)} at least", start
    ago = f"one last polled {age(facts.now, queue.polled_at)} ago"
    if queue.polled_at < since:
        return ago, start
    backlog = f"; {waiting(queue.backlog, 'task')}" if queue.backlog else ""
    return ago, f"The workers are there: see their log for what holds them, or start more{backlog}."


def again(now: datetime, moment: datetime) -> str:
    """When something is repeated, to end a sentence."""
    return f"by itself, next at {clock(moment)}." if moment > now else "by itself."
