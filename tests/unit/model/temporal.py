"""What Temporal and a worker do with an order's run: messages, workflow tasks, crashes, ends, resets."""

from unit.model.order_run import turn
from unit.model.rules import Rules
from unit.model.services import FIRST
from unit.model.state import (
    COMPLETED,
    FAR,
    NEAR,
    NEW,
    NOBODY,
    OPEN,
    TERMINATED,
    WAITS,
    Attempt,
    Inbox,
    Run,
    Temporal,
    World,
)

_NOTHING = Inbox()


# --- What comes ---


def tell(world: World, again: bool, rules: Rules) -> World:
    """A message: a signal where a run is open, a start where one may begin, and else nothing, which counts as told."""
    if world.temporal.state == OPEN:
        return deliver(world, Inbox(looks=True))
    return start(world) if rules.may_start(world.temporal.state, again=again) else world


def start(world: World) -> World:
    """A run begins, and with it a look."""
    return world._replace(temporal=Temporal(OPEN, Run()), cancel_was_asked=False)


def deliver(world: World, came: Inbox) -> World:
    """Into the open run's history; a worker that is at a task learns of it when that has ended."""
    temporal = world.temporal
    kept = temporal.kept
    if kept is None:
        return world
    if temporal.before is not None:
        temporal = temporal._replace(since=_handed_in_again(_together(temporal.since, came)))
    if temporal.task is None:
        return world._replace(temporal=temporal._replace(kept=kept.received(came)))
    return world._replace(temporal=temporal._replace(inbox=_together(temporal.inbox, came)))


def _handed_in_again(came: Inbox) -> Inbox:
    """What a reset hands in of that: signals. Results are forgotten, and so is a cancellation (Temporal 1.26.2)."""
    return came._replace(results=(), cancelled=False)


def _together(one: Inbox, other: Inbox) -> Inbox:
    return Inbox(
        one.looks or other.looks,
        one.cancelled or other.cancelled,
        one.results + other.results,
        other.content or one.content,
    )


# --- Workflow tasks ---


def has_a_task(world: World) -> bool:
    """Whether a worker would get one."""
    temporal = world.temporal
    return temporal.kept is not None and temporal.task is None and not temporal.kept.is_quiet


def begin_task(world: World) -> World:
    """A worker takes the task."""
    return world._replace(temporal=world.temporal._replace(task=world.temporal.kept))


def take_turn(world: World, run: Run, rules: Rules, *, near: bool) -> tuple[str, World] | None:
    """The workflow does one thing; None: it waits."""
    took = turn(run, world.row, rules)
    if took is None:
        return None
    label, run, row = took
    run, attempts = _first_attempts(run, near)
    temporal = world.temporal._replace(task=run)
    return label, world._replace(row=row, temporal=temporal, attempts=_more(world, attempts))


def _first_attempts(run: Run, near: bool) -> tuple[Run, list[Attempt]]:
    """Steps that the turn began are tried in this task, or wait for its end."""
    attempts = []
    for step, where in run.running:
        if where == NEW:
            run = run.moved(step.name, NEAR if near else WAITS)
            attempts += [Attempt(step, FIRST, NEAR)] if near else []
    return run, attempts


def end_task(world: World, run: Run, rules: Rules, *, resets: bool) -> tuple[str, World] | None:
    """The worker reports what the task came to; None: a near step is still under way."""
    if any(where == NEAR for _, where in run.running):
        return None
    if _is_over(run, rules):
        return _end_run(world, run, rules, resets)
    far = [rules.far(step) for step, where in run.running if where == WAITS]
    for step in far:
        run = run.moved(step.name, FAR)
    temporal = _after_task(world.temporal, run.received(world.temporal.inbox), resets)
    attempts = [Attempt(step, FIRST, FAR) for step in far]
    return "the task ends", world._replace(temporal=temporal, attempts=_more(world, attempts))


def _is_over(run: Run, rules: Rules) -> bool:
    return rules.may_end(run) or (run.is_idle and run.is_quiet and rules.has_nothing_to_run(run))


def _end_run(world: World, run: Run, rules: Rules, resets: bool) -> tuple[str, World]:
    if world.temporal.inbox != _NOTHING:
        return "Temporal refuses the end, something came meanwhile", lose_task(world)
    state = COMPLETED if rules.may_end(run) else TERMINATED
    temporal = _after_task(world.temporal, None, resets)._replace(state=state)
    return f"the run ends at {run.status}", world._replace(temporal=temporal)


def _after_task(temporal: Temporal, kept: Run | None, resets: bool) -> Temporal:
    before, since = (temporal.kept, _handed_in_again(temporal.inbox)) if resets else (None, _NOTHING)
    return Temporal(temporal.state, kept, before=before, since=since)


def continue_as_new(world: World) -> World | None:
    """The history is long: the run begins again, knowing nothing. Temporal refuses it where something came."""
    if world.temporal.inbox != _NOTHING:
        return None
    return world._replace(temporal=Temporal(OPEN, Run()))


def lose_task(world: World) -> World:
    """The worker dies: what it did stays done, what it had not reported is forgotten."""
    temporal = world.temporal
    kept = temporal.kept and temporal.kept.received(temporal.inbox)
    return world._replace(
        temporal=temporal._replace(kept=kept, task=None, inbox=_NOTHING), attempts=_let_go(world, NEAR)
    )


# --- Ends that are not its own ---


def terminate(world: World) -> World:
    """Somebody ends the run; whatever its steps are at, nobody waits for them."""
    temporal = world.temporal._replace(state=TERMINATED, kept=None, task=None, inbox=_NOTHING)
    return world._replace(temporal=temporal, attempts=_let_go(world, NEAR, FAR), cancel_was_asked=False)


def reset(world: World, *, to_the_first: bool) -> World | None:
    """The last finished task, or the first, is done again; all signals since are handed in again."""
    before, since = world.temporal.before, world.temporal.since
    if before is None:
        return None
    run = Run() if to_the_first else before.received(since)
    world = world._replace(
        temporal=Temporal(OPEN, run), attempts=_let_go(world, NEAR, FAR), cancel_was_asked=run.cancel_stands
    )
    again = [Attempt(step, FIRST, FAR) for step, _ in run.running]
    return world._replace(attempts=_more(world, again))


# --- Attempts ---


def attempt_ended(world: World, attempt: Attempt, outcome: str) -> World:
    """The answer reaches who waits for it."""
    name, task = attempt.step.name, world.temporal.task
    if attempt.owner == FAR:
        return deliver(world, Inbox(results=((name, outcome),)))
    if attempt.owner == NEAR and task is not None:
        return world._replace(temporal=world.temporal._replace(task=task.ended(name, outcome)))
    return world


def attempt_timed_out(world: World, attempt: Attempt) -> World:
    """Nobody waits for this attempt any more: a near one is followed by an ordinary one, that one by another."""
    task = world.temporal.task
    left = Attempt(attempt.step, attempt.moment, NOBODY)
    others = [other for other in world.attempts if other is not attempt]
    if attempt.owner == FAR:
        return world._replace(attempts=tuple(sorted([*others, left, Attempt(attempt.step, FIRST, FAR)])))
    if task is not None:
        task = task.moved(attempt.step.name, WAITS)
    return world._replace(attempts=tuple(sorted([*others, left])), temporal=world.temporal._replace(task=task))


def _more(world: World, attempts: list[Attempt]) -> tuple[Attempt, ...]:
    return tuple(sorted((*world.attempts, *attempts))) if attempts else world.attempts


def _let_go(world: World, *owners: str) -> tuple[Attempt, ...]:
    return tuple(
        sorted(Attempt(step, moment, NOBODY if owner in owners else owner) for step, moment, owner in world.attempts)
    )
