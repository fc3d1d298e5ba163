"""What an attempt of a step does, moment by moment. Between two moments anything may happen, also nothing for ever.

Each payment step looks at its own database, asks the gateway, and records what it said; a step of inventory is one
statement.
"""

from collections.abc import Iterator
from typing import NamedTuple

from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.payments import PaymentStatus
from unit.model.rules import PAYMENTS, RESERVATIONS, Rules
from unit.model.state import Gateway, Step, World, answer_of, with_answer

#: Every attempt begins with it.
FIRST = "look"


class Moment(NamedTuple):
    """One thing that an attempt may do: afterwards it is at ``next``, or has ended with ``outcome``."""

    label: str
    world: World
    next: str | None = None
    outcome: str | None = None


def moments(world: World, step: Step, moment: str, rules: Rules, *, says_no: bool) -> Iterator[Moment]:
    """What may happen next. ``says_no``: the gateway and the warehouse may refuse."""
    match step.name:
        case "authorize":
            yield from _authorize(world, step, moment, says_no)
        case "capture":
            yield from _capture(world, step, moment, rules, says_no)
        case "void":
            yield _void(world, moment, rules)
        case "reserve":
            yield from _reserve(world, step, says_no)
        case "commit":
            yield _commit(world)
        case "release":
            yield _release(world, rules)


# --- Payments ---


def _authorize(world: World, step: Step, moment: str, says_no: bool) -> Iterator[Moment]:
    if moment == FIRST:
        yield _foresee_authorize(world, step)
    elif moment == "ask":
        for answer, gateway in _asked_to_authorize(world.gateway, step.command_id, says_no):
            yield Moment(f"the gateway answers {answer}", world._replace(gateway=gateway), f"record {answer}")
    elif moment == "undo":
        payments = world.payments
        payments = payments._replace(answers=with_answer(payments.answers, step.command_id, "shut"))
        undone = world._replace(payments=payments, gateway=_voided(world.gateway))
        yield Moment("undoes itself at the gateway", undone, outcome="shut")
    else:
        yield _record_authorize(world, step, moment.removeprefix("record "))


def _foresee_authorize(world: World, step: Step) -> Moment:
    recorded = answer_of(world.payments.answers, step.command_id)
    if recorded == "shut" or (recorded is None and not PAYMENTS.allows("authorize", world.payments.status)):
        return Moment("finds the door shut", world, "undo")
    if recorded is not None:
        return Moment("was recorded before", world, outcome=recorded)
    if not step.with_token:
        return Moment("has no token", world, outcome="no_token")
    return Moment("may ask", world, "ask")


def _asked_to_authorize(gateway: Gateway, key: str, says_no: bool) -> Iterator[tuple[str, Gateway]]:
    said = answer_of(gateway.answers, key)
    if said is not None:
        yield said, gateway
    elif gateway.status != "nothing":
        yield "shut", gateway._replace(answers=with_answer(gateway.answers, key, "shut"))
    else:
        yield "ok", gateway._replace(status="held", answers=with_answer(gateway.answers, key, "ok"))
        if says_no:
            yield "refused", gateway._replace(answers=with_answer(gateway.answers, key, "refused"))


def _record_authorize(world: World, step: Step, answer: str) -> Moment:
    payments = world.payments
    recorded = answer_of(payments.answers, step.command_id)
    if recorded is None:
        if not PAYMENTS.allows("authorize", payments.status):
            answer = "shut"
        to = {"ok": PaymentStatus.AUTHORIZED, "refused": PaymentStatus.DECLINED}.get(answer, payments.status)
        answers = with_answer(payments.answers, step.command_id, answer)
        world = world._replace(payments=payments._replace(status=to, answers=answers))
        recorded = answer
    if recorded == "shut":
        return Moment("is refused: the door is shut", world, "undo")
    return Moment(f"records {world.payments.status}", world, outcome=recorded)


def _capture(world: World, step: Step, moment: str, rules: Rules, says_no: bool) -> Iterator[Moment]:
    if moment == FIRST:
        yield _foresee_capture(world, step)
    elif moment == "ask":
        for answer, gateway in _asked_to_capture(world.gateway, step.command_id, rules, says_no):
            yield Moment(f"the gateway answers {answer}", world._replace(gateway=gateway), f"record {answer}")
    else:
        yield _record_capture(world, step, moment.removeprefix("record "))


def _foresee_capture(world: World, step: Step) -> Moment:
    recorded = answer_of(world.payments.answers, step.command_id)
    if recorded is not None:
        return Moment("was recorded before", world, outcome=recorded)
    if world.payments.status is not None and not PAYMENTS.allows("capture", world.payments.status):
        return Moment("is not allowed", world, outcome="refused")
    return Moment("may ask", world, "ask")


def _asked_to_capture(gateway: Gateway, key: str, rules: Rules, says_no: bool) -> Iterator[tuple[str, Gateway]]:
    said = answer_of(gateway.answers, key)
    if said == "ok" or (said is not None and rules.remembers_refusals()):
        yield said, gateway
        return
    refused = gateway._replace(answers=with_answer(gateway.answers, key, "refused"))
    if gateway.status != "held":
        yield "refused", refused
        return
    answers = with_answer(tuple(pair for pair in gateway.answers if pair[0] != key), key, "ok")
    yield "ok", Gateway("captured", answers, gateway.captures + 1)
    if says_no:
        yield "refused", refused


def _record_capture(world: World, step: Step, answer: str) -> Moment:
    payments = world.payments
    recorded = answer_of(payments.answers, step.command_id)
    if recorded is None and answer == "ok" and PAYMENTS.allows("capture", payments.status):
        payments = payments._replace(status=PAYMENTS.transition("capture").to)
        recorded = "ok"
    recorded = recorded or "refused"
    payments = payments._replace(answers=with_answer(payments.answers, step.command_id, recorded))
    world = world._replace(payments=payments)
    if answer == "ok" and recorded == "refused" and payments.status != PaymentStatus.CAPTURED:
        return Moment("gives back", world._replace(gateway=_voided(world.gateway)), outcome="refused")
    return Moment(f"records {recorded}", world, outcome=recorded)


def _void(world: World, moment: str, rules: Rules) -> Moment:
    payments = world.payments
    if moment == FIRST:
        if rules.may_shut(PAYMENTS, "void", payments.status):
            payments = payments._replace(status=PAYMENTS.transition("void").to)
        if payments.status == PaymentStatus.VOIDING:
            return Moment("shuts the door", world._replace(payments=payments), "ask")
        return Moment("finds nothing to do", world, outcome=_unless(payments.status == PaymentStatus.CAPTURED))
    if moment == "ask":
        return Moment("the gateway voids", world._replace(gateway=_voided(world.gateway)), "record")
    if PAYMENTS.allows("record_void", payments.status):
        payments = payments._replace(status=PAYMENTS.transition("record_void").to)
    return Moment(f"records {payments.status}", world._replace(payments=payments), outcome="ok")


def _voided(gateway: Gateway) -> Gateway:
    """Also of an unknown reference: an authorize that comes later is refused. What was captured is refunded."""
    to = {"nothing": "voided", "held": "voided", "captured": "refunded"}
    return gateway._replace(status=to.get(gateway.status, gateway.status))


# --- Inventory ---


def _reserve(world: World, step: Step, says_no: bool) -> Iterator[Moment]:
    inventory = world.inventory
    recorded = answer_of(inventory.answers, step.command_id)
    if recorded is not None:
        yield Moment("was recorded before", world, outcome=recorded)
        return
    ends: dict[str, str | None] = {"ok": ReservationStatus.RESERVED}
    if not RESERVATIONS.allows("reserve", inventory.status):
        ends = {"shut": inventory.status}
    elif says_no:
        ends["refused"] = ReservationStatus.REJECTED
    for answer, status in ends.items():
        after = inventory._replace(status=status, answers=with_answer(inventory.answers, step.command_id, answer))
        yield Moment(f"is {status}", world._replace(inventory=after), outcome=answer)


def _commit(world: World) -> Moment:
    inventory = world.inventory
    if RESERVATIONS.allows("commit", inventory.status):
        inventory = inventory._replace(status=RESERVATIONS.transition("commit").to)
    outcome = _unless(inventory.status != ReservationStatus.COMMITTED)
    return Moment(f"is {inventory.status}", world._replace(inventory=inventory), outcome=outcome)


def _release(world: World, rules: Rules) -> Moment:
    inventory = world.inventory
    if rules.may_shut(RESERVATIONS, "release", inventory.status):
        inventory = inventory._replace(status=RESERVATIONS.transition("release").to)
    outcome = _unless(inventory.status == ReservationStatus.COMMITTED)
    return Moment(f"is {inventory.status}", world._replace(inventory=inventory), outcome=outcome)


def _unless(too_late: bool) -> str:
    return "too_late" if too_late else "ok"
