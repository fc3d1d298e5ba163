"""Everything that may happen next in a world: what must go on by itself, what people do, and what goes wrong."""

from collections.abc import Iterator
from typing import NamedTuple

from unit.model import temporal
from unit.model.orders_database import carry_out, expire, hand_over
from unit.model.rules import Rules
from unit.model.scenarios import Scenario
from unit.model.services import moments
from unit.model.state import COMPLETED, NOBODY, NONE, OPEN, TERMINATED, Attempt, Command, Inbox, Sender, Temporal, World


class Move(NamedTuple):
    """``goes_on``: it happens by itself, sooner or later; else a client's, an operator's or a fault's."""

    label: str
    world: World
    goes_on: bool = False


def moves(world: World, scenario: Scenario, rules: Rules) -> Iterator[Move]:
    """All of them."""
    yield from _people(world, scenario, rules)
    yield from _dispatchers(world, scenario)
    for sender in world.senders:
        yield from _sender(world, sender, rules)
    for again in dict.fromkeys(world.wandering):
        yield from _wanderer(world, again, rules)
    if world.temporal.state == OPEN:
        yield from _run(world, scenario, rules)
    yield from _interventions(world, rules)
    for attempt in dict.fromkeys(world.attempts):
        yield from _attempt(world, attempt, scenario, rules)
    if scenario.reconciles and world.is_at_rest and rules.wants_a_look(world):
        looked = world._replace(row=hand_over(world.row, again=True), reconciled=world.reconciled + 1)
        yield Move("reconciliation wants a look", looked, goes_on=True)


def beginning(scenario: Scenario, rules: Rules) -> World:
    """Where a scenario begins: what it is ``after`` has come to rest."""
    world = World()
    for command in scenario.after:
        world = world._replace(script=(command,))
        while (move := next(moves(world, scenario, rules), None)) is not None:
            world = move.world
    return world._replace(script=scenario.script, faults=tuple(sorted(scenario.faults)))


# --- People ---


def _people(world: World, scenario: Scenario, rules: Rules) -> Iterator[Move]:
    for command in world.script:
        rest = world._replace(script=tuple(other for other in world.script if other != command))
        if command.name == "operator":
            if world.temporal.state == OPEN:
                cancelled = temporal.deliver(rest, Inbox(cancelled=True))
                yield Move("an operator cancels the workflow", cancelled._replace(cancel_was_asked=True))
        elif command.name == "expire":
            if rules.may_expire(world.row.status):
                yield Move("the sweep ends the order", rest._replace(row=expire(world.row)))
        else:
            yield from _client(world, rest, command, scenario)


def _client(world: World, rest: World, command: Command, scenario: Scenario) -> Iterator[Move]:
    """What is refused was never accepted, and writes nothing: the client may ask again."""
    row = carry_out(world.row, command.name, command.id)
    if row is world.row:
        return
    rest = rest._replace(row=row)
    if scenario.api_tells and row.handover is not None and row.handover != world.row.handover:
        rest = rest._replace(senders=tuple(sorted((*rest.senders, Sender("api", row.handover)))))
    yield Move(f"a client: {command.id} -> {row.status} v{row.version}", rest)


# --- Messages ---


def _dispatchers(world: World, scenario: Scenario) -> Iterator[Move]:
    busy = sum(sender.name == "dispatcher" for sender in world.senders)
    if world.row.handover is not None and busy < scenario.dispatchers:
        sender = Sender("dispatcher", world.row.handover)
        sending = world._replace(senders=tuple(sorted((*world.senders, sender))))
        yield Move(f"a dispatcher claims and sends number {world.row.handover.number}", sending, goes_on=True)


def _sender(world: World, sender: Sender, rules: Rules) -> Iterator[Move]:
    others = list(world.senders)
    others.remove(sender)
    gone = world._replace(senders=tuple(others))
    who = f"{sender.name}'s number {sender.handover.number}"
    if sender.told:
        yield Move(f"{who} is deleted if it is the last", _delete(gone, sender, rules), goes_on=True)
        return
    told = temporal.tell(gone, sender.handover.again, rules)
    heard = told._replace(senders=tuple(sorted((*others, sender._replace(told=True)))))
    yield Move(f"{who} arrives", heard, goes_on=True)
    if "unheard" in world.faults:
        yield Move(f"{who} arrives, its sender does not hear of it", _struck(told, "unheard"))
    if "lost" in world.faults:
        yield Move(f"{who} is lost", _struck(gone, "lost"))
    if "delayed" in world.faults:
        wandering = tuple(sorted((*world.wandering, sender.handover.again)))
        yield Move(f"{who} is given up on its way", _struck(gone._replace(wandering=wandering), "delayed"))


def _delete(world: World, sender: Sender, rules: Rules) -> World:
    row = world.row
    if row.handover is not None and rules.is_told(row.handover, sender.handover.number):
        row = row._replace(handover=None)
    return world._replace(row=rules.row_once_told(row))


def _wanderer(world: World, again: bool, rules: Rules) -> Iterator[Move]:
    wandering = list(world.wandering)
    wandering.remove(again)
    gone = world._replace(wandering=tuple(wandering))
    yield Move("a message that was given up arrives", temporal.tell(gone, again, rules), goes_on=True)
    yield Move("a message that was given up is lost", gone, goes_on=True)


# --- The run ---


def _run(world: World, scenario: Scenario, rules: Rules) -> Iterator[Move]:
    run = world.temporal.task
    if run is None:
        if temporal.has_a_task(world):
            yield Move("a task begins", temporal.begin_task(world), goes_on=True)
        return
    resets = "reset" in world.faults
    over = rules.may_end(run)
    went = None if over else temporal.take_turn(world, run, rules, near=scenario.near)
    went = went or temporal.end_task(world, run, rules, resets=resets)
    if went is not None:
        yield Move(f"workflow: {went[0]}", went[1], goes_on=True)
    if "crash" in world.faults:
        yield Move("the worker dies in its task", _struck(temporal.lose_task(world), "crash"))
    # Where the main coroutine looks at the length of its history: after a turn.
    if "long" in world.faults and not over and run != world.temporal.kept and rules.may_continue_as_new(run):
        anew = temporal.continue_as_new(world)
        if anew is not None:
            yield Move("the workflow continues as new", _struck(anew, "long"))


def _interventions(world: World, rules: Rules) -> Iterator[Move]:
    """What is done to the run and to its order behind everybody's back."""
    state, faults = world.temporal.state, set(world.faults)
    if "terminate" in faults and state == OPEN:
        yield Move("somebody terminates the run", _struck(temporal.terminate(world), "terminate"))
    if "forged" in faults and state == OPEN:
        for status, version in (("CANCELLED", 99), ("SHIPPED", 99)):
            forged = temporal.deliver(world, rules.signal(status, version))
            yield Move(f"somebody signals {status} v{version}", _struck(forged, "forged"))
    if "stranger" in faults and state != OPEN:
        yield Move("a stranger starts a run", _struck(temporal.start(world), "stranger"))
    if "forget" in faults and state in (COMPLETED, TERMINATED):
        yield Move("Temporal forgets the run", _struck(world._replace(temporal=Temporal(NONE)), "forget"))
    if "look" in faults and world.row.status is not None:
        looked = world._replace(row=hand_over(world.row, again=True))
        yield Move("somebody wants a look", _struck(looked, "look"))
    if "reset" in faults:
        for to_the_first in (False, True):
            anew = temporal.reset(world, to_the_first=to_the_first)
            if anew is not None:
                to = "first" if to_the_first else "last"
                yield Move(f"somebody resets the run to its {to} task", _struck(anew, "reset"))


# --- Attempts ---


def _attempt(world: World, attempt: Attempt, scenario: Scenario, rules: Rules) -> Iterator[Move]:
    others = list(world.attempts)
    others.remove(attempt)
    who = f"{attempt.owner} {attempt.step.name}".replace(NOBODY, "late")
    for label, went, moment, outcome in moments(world, attempt.step, attempt.moment, rules, says_no=scenario.says_no):
        if moment is not None:
            after = went._replace(attempts=tuple(sorted((*others, attempt._replace(moment=moment)))))
        else:
            after = temporal.attempt_ended(went._replace(attempts=tuple(others)), attempt, outcome or "")
        yield Move(f"{who} {label}", after, goes_on=True)
    if attempt.owner == NOBODY:
        yield Move(f"{who} goes no further", world._replace(attempts=tuple(others)), goes_on=True)
    elif "timeout" in world.faults:
        timed_out = temporal.attempt_timed_out(world, attempt)
        yield Move(f"{who} is given up, its call is still under way", _struck(timed_out, "timeout"))


def _struck(world: World, fault: str) -> World:
    faults = list(world.faults)
    faults.remove(fault)
    return world._replace(faults=tuple(faults))
