"""Every rule of the checker holds on sound evidence, and is seen to fail on evidence that breaks it."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tools.chaos.checker import RULES, check
from tools.chaos.evidence import Evidence
from tools.chaos.marks import mark_of
from tools.chaos.rules_rest import at_rest
from tools.chaos.sound import CANCELLED, DECLINED, DONE, EXPIRED, WAITING, only, sound_evidence

SOUND = sound_evidence()
Corruption = Callable[[Evidence], Any]


def _ledger(e: Evidence, order_id: str, kind: str) -> dict[str, Any]:
    return only(e.ledger, key=f"{order_id}-{kind}", conflict=False)


def _event(e: Evidence, service: str, order_id: str, version: int) -> dict[str, Any]:
    return only(e.events[service], order_id=order_id, version=version)


def _record(e: Evidence, ce_id: str) -> dict[str, Any]:
    [found] = [record for record in e.records if record["headers"]["ce_id"] == ce_id]
    return found


def _workflow(e: Evidence, order_id: str) -> dict[str, Any]:
    return only(e.workflows, id=f"order-{order_id}")


def _command(order_id: str, command_id: str, name: str, **refusal: str) -> dict[str, Any]:
    row = {"order_id": order_id, "command_id": command_id, "name": name, "version": None, "recorded_at": 1.0}
    return {**row, "refusal": refusal}


def _end_by_hand(e: Evidence, order_id: str) -> dict[str, Any]:
    """Its run is terminated; the one that reconciliation started in its place."""
    run = _workflow(e, order_id)
    again = {**deepcopy(run), "run_id": "again"}
    run.update(status="TERMINATED", pending=["authorize_payment"], task_events=[[4, "timed out", "", ""]])
    e.terminated[run["run_id"]] = run["id"]
    e.commands["orders"].append(
        _command(order_id, "r:look:workflow_gone:1", "look", slug="repaired", detail="it has no workflow")
    )
    return again


def _swap_versions(e: Evidence) -> None:
    first, second = (_record(e, f"orders/{DONE}/{version}") for version in (2, 3))
    for name in ("headers", "value"):
        first[name], second[name] = second[name], first[name]


def _stock_refused() -> dict[str, Any]:
    return {"status": 409, "problem": "stock_reserved"}


def _lose_order(e: Evidence) -> None:
    e.rows["orders"].remove(only(e.rows["orders"], order_id=EXPIRED))


CORRUPTIONS: list[tuple[str, str, Corruption]] = [
    ("accepted = present", "an accepted order is lost", _lose_order),
    (
        "accepted = present",
        "an order has other lines",
        lambda e: only(e.order_lines, order_id=DONE).update(quantity=3),
    ),
    (
        "accepted = present",
        "an order of nobody",
        lambda e: e.ledger.remove(_ledger(e, EXPIRED, "place")),
    ),
    (
        "accepted = present",
        "one key, two orders",
        lambda e: e.ledger.append(
            {**deepcopy(_ledger(e, DONE, "place")), "told": {**_ledger(e, DONE, "place")["told"], "order_id": EXPIRED}}
        ),
    ),
    (
        "commands: once, and as told",
        "an accepted command left no record",
        lambda e: e.commands["orders"].remove(only(e.commands["orders"], command_id=f"c:{CANCELLED}-ship")),
    ),
    (
        "commands: once, and as told",
        "an accepted command is still pending",
        lambda e: only(e.commands["orders"], command_id=f"c:{CANCELLED}-ship").update(refusal=None),
    ),
    (
        "commands: once, and as told",
        "told refused, and done",
        lambda e: _ledger(e, DONE, "ship")["told"].update(status=409, problem="illegal_transition", command=None),
    ),
    (
        "commands: once, and as told",
        "told done, and refused",
        lambda e: only(e.commands["orders"], command_id=f"c:{DONE}-complete").update(
            version=None, refusal={"slug": "illegal_transition"}
        ),
    ),
    (
        "commands: once, and as told",
        "told another version",
        lambda e: _ledger(e, DONE, "ship")["told"]["command"].update(version=3),
    ),
    (
        "commands: once, and as told",
        "a command made two events",
        lambda e: _event(e, "orders", DONE, 5).update(command_id=f"c:{DONE}-ship"),
    ),
    (
        "commands: once, and as told",
        "a command that nobody sent",
        lambda e: e.ledger.remove(_ledger(e, CANCELLED, "cancel")),
    ),
    (
        "commands: once, and as told",
        "told refused once it was done",
        lambda e: e.ledger.append(
            {
                **deepcopy(_ledger(e, DONE, "ship")),
                "at": 2e6,
                "told": {"status": 409, "problem": "illegal_transition", "command": None},
            }
        ),
    ),
    (
        "a refusal wrote no row",
        "what the lifecycle forbids is recorded",
        lambda e: e.commands["orders"].append(_command(WAITING, "c:x", "approve", slug="illegal_transition")),
    ),
    (
        "a refusal wrote no row",
        "a ship was refused for nothing of the gateway",
        lambda e: only(e.commands["orders"], command_id=f"c:{CANCELLED}-ship")["refusal"].update(slug="invalid"),
    ),
    ("stock commands: once, and as told", "a change is lost", lambda e: e.movements.pop(0)),
    (
        "stock commands: once, and as told",
        "a change happened twice",
        lambda e: e.movements.append(deepcopy(e.movements[0])),
    ),
    (
        "stock commands: once, and as told",
        "told refused, and done",
        lambda e: e.ledger.append({**deepcopy(e.ledger[0]), "at": 2e6, "told": _stock_refused()}),
    ),
    (
        "a key stands for one request",
        "another request was taken",
        lambda e: only(e.ledger, conflict=True)["told"].update(status=200, problem=None),
    ),
    (
        "nobody saw a bug",
        "a client was told 500",
        lambda e: _ledger(e, DONE, "ship")["told"].update(status=500, problem="internal_error", command=None),
    ),
    ("nobody saw a bug", "a client gave up", lambda e: e.ledger.append({"say": "gave up", "what": "it", "told": None})),
    ("versions 1..n", "an event is gone", lambda e: e.events["orders"].remove(_event(e, "orders", DONE, 3))),
    (
        "fold(events) = status",
        "a row is ahead of its events",
        lambda e: only(e.rows["orders"], order_id=WAITING).update(status="SHIPPED"),
    ),
    (
        "fold(events) = status",
        "an illegal move",
        lambda e: _event(e, "payments", CANCELLED, 2).update(type="PAYMENT_CAPTURED", status="CAPTURED"),
    ),
    (
        "fold(events) = status",
        "an event tells another story",
        lambda e: _event(e, "orders", DONE, 4)["data"].update({"from": "APPROVED"}),
    ),
    (
        "fold(events) = status",
        "an approved order expired",
        lambda e: [
            row.update(reason="draft_expired")
            for row in (_event(e, "orders", DECLINED, 3)["data"], only(e.rows["orders"], order_id=DECLINED))
        ],
    ),
    (
        "fold(events) = status",
        "a row gives another reason",
        lambda e: only(e.rows["orders"], order_id=DECLINED).update(reason="out_of_stock"),
    ),
    (
        "Kafka = events",
        "a record is missing",
        lambda e: e.records.remove(_record(e, f"payments/{DONE}/2")),
    ),
    (
        "Kafka = events",
        "a record of nothing",
        lambda e: _record(e, f"payments/{DONE}/2")["headers"].update(ce_sequence="3"),
    ),
    (
        "Kafka = events",
        "a record with other data",
        lambda e: _record(e, f"payments/{DONE}/2").update(
            value=_record(e, f"payments/{DONE}/2")["value"].replace("300", "301")
        ),
    ),
    ("Kafka = events", "a record that is no event", lambda e: e.records[0].update(headers={})),
    ("Kafka in order, one partition a key", "two events changed places", _swap_versions),
    (
        "Kafka in order, one partition a key",
        "an order is in two partitions",
        lambda e: _record(e, f"orders/{DONE}/5").update(partition=9),
    ),
    (
        "published where it says",
        "an event waits in the outbox",
        lambda e: e.outbox["orders"].append({"order_id": DONE, "version": 5}),
    ),
    (
        "published where it says",
        "an order is parked",
        lambda e: e.parked["orders"].append({"order_id": DONE, "error": "too large"}),
    ),
    ("published where it says", "a publication is missing", lambda e: e.publications["orders"].pop()),
    (
        "published where it says",
        "an acknowledged record is lost",
        lambda e: e.records.remove(_record(e, f"orders/{DONE}/5")),
    ),
    (
        "one hold, one capture",
        "held twice",
        lambda e: e.gateway_movements.append(
            {**only(e.gateway_movements, id=f"hold-{WAITING}"), "id": "another", "moved_at": "2000000"}
        ),
    ),
    (
        "one hold, one capture",
        "captured twice",
        lambda e: e.gateway_movements.append(
            {**only(e.gateway_movements, id=f"capture-{DONE}"), "id": "another", "moved_at": "2000000"}
        ),
    ),
    (
        "one hold, one capture",
        "an attempt to charge twice",
        lambda e: only(e.gateway_payments, reference=DONE).update(duplicate_attempts=1),
    ),
    (
        "money follows orders",
        "a cancelled order keeps its authorization",
        lambda e: e.gateway_movements.remove(only(e.gateway_movements, id=f"release-{CANCELLED}")),
    ),
    (
        "money follows orders",
        "shipped, and nothing captured",
        lambda e: e.gateway_movements.remove(only(e.gateway_movements, id=f"capture-{DONE}")),
    ),
    (
        "money follows orders",
        "another amount was captured",
        lambda e: only(e.gateway_movements, id=f"capture-{DONE}").update(amount=301),
    ),
    (
        "money follows orders",
        "the gateway has money of nobody",
        lambda e: only(e.gateway_payments, reference=DECLINED).update(reference="somebody"),
    ),
    (
        "payments = gateway",
        "an authorization without a row",
        lambda e: e.rows["payments"].remove(only(e.rows["payments"], order_id=WAITING)),
    ),
    (
        "payments = gateway",
        "a row that the gateway contradicts",
        lambda e: only(e.gateway_payments, reference=DONE).update(status="refunded"),
    ),
    (
        "payments = gateway",
        "a row with another capture",
        lambda e: only(e.rows["payments"], order_id=DONE).update(capture_id="another"),
    ),
    ("stock = movements", "stock that nothing explains", lambda e: e.stock[0].update(on_hand=9)),
    ("stock = movements", "it was oversold for a moment", lambda e: e.movements[0].update(reserved=11)),
    ("stock = movements", "a movement that does not add up", lambda e: e.movements[1].update(on_hand=9)),
    (
        "reserved = reservations, no oversell",
        "a reservation that nobody holds",
        lambda e: e.stock[0].update(reserved=4),
    ),
    (
        "reserved = reservations, no oversell",
        "oversold",
        lambda e: e.stock[0].update(on_hand=1),
    ),
    (
        "stock follows orders",
        "shipped, and nothing left the warehouse",
        lambda e: e.movements.pop(),
    ),
    (
        "stock follows orders",
        "stock left for a cancelled order",
        lambda e: e.movements[-1].update(order_id=CANCELLED),
    ),
    (
        "stock follows orders",
        "another quantity was reserved",
        lambda e: only(e.reservation_lines, order_id=DONE).update(quantity=1),
    ),
    ("every order at rest", "something is in motion", lambda e: e.unrest.append("3 events in the outbox of orders")),
    (
        "every order at rest",
        "a cancelled order keeps its reservation",
        lambda e: only(e.rows["inventory"], order_id=CANCELLED).update(status="RESERVED"),
    ),
    (
        "every order at rest",
        "an order is stuck in APPROVED",
        lambda e: only(e.rows["orders"], order_id=WAITING).update(status="APPROVED"),
    ),
    (
        "every order at rest",
        "a draft outlived its time",
        lambda e: only(e.rows["orders"], order_id=EXPIRED).update(status="DRAFT"),
    ),
    (
        "no handover is left",
        "Temporal was not told of a cancel",
        lambda e: e.handovers.append({"order_id": CANCELLED, "name": "cancel", "refused": None}),
    ),
    (
        "tokens of DRAFT and APPROVED orders only",
        "a token outlived its need",
        lambda e: e.tokens.append({"order_id": WAITING}),
    ),
    (
        "no workflow was lost but by hand",
        "reconciliation found an order without its workflow",
        lambda e: e.commands["orders"].append(
            _command(WAITING, "r:look:workflow_gone:1", "look", slug="repaired", detail="it has no workflow")
        ),
    ),
    ("no failed workflow", "a workflow failed", lambda e: _workflow(e, DONE).update(status="FAILED")),
    ("no failed workflow", "a final order's workflow is open", lambda e: _workflow(e, DONE).update(status="RUNNING")),
    ("no failed workflow", "an order has no workflow", lambda e: e.workflows.remove(_workflow(e, WAITING))),
    ("no failed workflow", "a workflow of no order", lambda e: _workflow(e, DONE).update(id="order-another")),
    (
        "no failed workflow",
        "the reconciliation failed",
        lambda e: e.workflows.append({**_workflow(e, DONE), "id": "orderflow-reconcile", "status": "FAILED"}),
    ),
    (
        "no failed workflow",
        "nobody terminated this one",
        lambda e: _workflow(e, WAITING).update(status="TERMINATED"),
    ),
    ("no failed workflow", "what was terminated was not brought back", lambda e: _end_by_hand(e, WAITING)),
    (
        "no failed workflow",
        "a draft has a workflow",
        lambda e: e.workflows.append({**deepcopy(_workflow(e, DONE)), "id": f"order-{EXPIRED}"}),
    ),
    ("no failed workflow", "an order ran twice", lambda e: e.workflows.append(deepcopy(_workflow(e, DONE)))),
    ("no failed workflow", "a step is under way", lambda e: _workflow(e, WAITING)["pending"].append("void_payment")),
    (
        "no failed workflow",
        "a step failed for good",
        lambda e: _workflow(e, DONE)["step_failures"].append("event 7: failed"),
    ),
    (
        "workflow tasks recovered",
        "non-determinism",
        lambda e: _workflow(e, DONE)["task_events"].insert(
            0, [3, "failed", "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR", "[TMPRL1100] no"]
        ),
    ),
    (
        "workflow tasks recovered",
        "a failed task without a success after it",
        lambda e: _workflow(e, DONE)["task_events"].append([12, "timed out", "", ""]),
    ),
    ("workflow tasks recovered", "a task fails again and again", lambda e: _workflow(e, DONE).update(task_attempt=7)),
    (
        "tracking = truth",
        "the tracking is behind",
        lambda e: only(e.tracking, order_id=DONE).update(order_status="SHIPPED", order_version=4),
    ),
    ("tracking = truth", "the timeline has a hole", lambda e: e.tracked_events.pop()),
    ("tracking = truth", "an inbox without its event", lambda e: e.processed.pop()),
    ("effects once", "an effect happened twice", lambda e: e.effects.append(deepcopy(e.effects[-1]))),
    ("effects once", "an effect never happened", lambda e: e.effects.pop()),
    ("effects once", "effects out of order", lambda e: e.effects.insert(0, e.effects.pop())),
    ("effects once", "an inbox without its effect", lambda e: e.effects_processed.pop()),
    (
        "Kafka = events",
        "a record of ours with another source",
        lambda e: _record(e, f"orders/{DONE}/1")["headers"].update(ce_source="/acme/billing"),
    ),
    (
        "tracking = truth",
        "a stranger's event moves an order",
        lambda e: only(e.tracking, order_id=DONE).update(order_status="APPROVED"),
    ),
    ("foreign records were passed", "junk is no dead letter", lambda e: e.dead_letters.pop()),
    (
        "foreign records were passed",
        "junk is two dead letters of a group",
        lambda e: e.dead_letters.append(e.dead_letters[0]),
    ),
    ("foreign records were passed", "an event of another source took no effect", lambda e: e.effects.pop(0)),
    (
        "foreign records were passed",
        "an event of another source took effect twice",
        lambda e: e.effects.append(e.effects[0]),
    ),
    (
        "foreign records were passed",
        "an event of another source is not in the timeline",
        lambda e: e.tracked_events.pop(0),
    ),
    (
        "dead letters are foreign records",
        "an event of ours is set aside",
        lambda e: e.dead_letters[0].update(mark=None, subject=DONE),
    ),
    (
        "dead letters are foreign records",
        "an event of another source is set aside",
        lambda e: e.dead_letters[0].update(mark=mark_of(0, 8, "event")),
    ),
    ("every fault was felt", "a fault hit nothing", lambda e: e.felt.update({"pause steps": 0})),
]


def test_sound_evidence_breaks_no_rule() -> None:
    assert {rule: wrong for rule, wrong in check(SOUND).items() if wrong} == {}


@pytest.mark.parametrize("order_id", [WAITING, DONE])
def test_a_run_that_was_terminated_by_hand_and_brought_back_breaks_no_rule(order_id: str) -> None:
    evidence = deepcopy(SOUND)
    evidence.workflows.append(_end_by_hand(evidence, order_id))
    assert {rule: wrong for rule, wrong in check(evidence).items() if wrong} == {}


def test_a_run_that_was_terminated_when_nothing_was_left_to_do_breaks_no_rule() -> None:
    evidence = deepcopy(SOUND)
    run = _workflow(evidence, DONE)
    run.update(status="TERMINATED")
    evidence.terminated[run["run_id"]] = run["id"]
    assert {rule: wrong for rule, wrong in check(evidence).items() if wrong} == {}


@pytest.mark.parametrize(
    ("status", "by_hand", "holds"), [("declined", True, True), ("declined", False, False), ("authorized", True, False)]
)
def test_a_refusal_may_be_unrecorded_where_the_run_was_terminated_by_hand(
    status: str, by_hand: bool, holds: bool
) -> None:
    evidence = deepcopy(SOUND)
    evidence.gateway_payments.append({"reference": EXPIRED, "status": status, "duplicate_attempts": 0})
    if by_hand:
        evidence.terminated["a run"] = f"order-{EXPIRED}"
    assert (check(evidence)["payments = gateway"] == []) is holds


def _made_anew(e: Evidence, *recorded_at: float) -> None:
    """Version 3 of an order was sent to the topic anew, and all of them again behind it; it happened meanwhile."""
    e.topic_made_anew.append((1.0, 2.0))
    for version, at in enumerate(recorded_at, 1):
        _event(e, "orders", DONE, version)["recorded_at"] = at
    early = deepcopy(_record(e, f"orders/{DONE}/3"))
    e.records.insert(0, {**early, "offset": -1})
    e.effects.insert(
        0, e.effects.pop(e.effects.index(only(e.effects, order_id=DONE, version=3, source="/orderflow/orders")))
    )


def test_what_happened_while_the_topic_was_made_anew_may_stand_before_what_was_repaired() -> None:
    evidence = deepcopy(SOUND)
    _made_anew(evidence, -200.0, -100.0, 1.5)
    assert {rule: wrong for rule, wrong in check(evidence).items() if wrong} == {}


def test_nothing_else_may_and_the_order_is_complete_behind_it() -> None:
    evidence = deepcopy(SOUND)
    _made_anew(evidence, -200.0, -100.0, 2.5)
    assert {rule for rule, wrong in check(evidence).items() if wrong} == {
        "Kafka in order, one partition a key",
        "effects once",
    }
    evidence = deepcopy(SOUND)
    _made_anew(evidence, -200.0, -100.0, 1.5)
    evidence.records.remove(_record(evidence, f"orders/{DONE}/2"))
    assert check(evidence)["Kafka in order, one partition a key"]


def test_a_run_that_was_terminated_before_its_void_breaks_no_rule_where_nothing_was_held() -> None:
    for payment, by_hand, rests in ((None, True, True), (None, False, False), ("AUTHORIZED", True, False)):
        assert at_rest("CANCELLED", True, payment, "RELEASED", by_hand=by_hand) is rests


def test_a_bug_that_the_storm_planted_may_be_seen() -> None:
    evidence = deepcopy(SOUND)
    sent = _ledger(evidence, DONE, "ship")
    failed = {"status": 500, "problem": "internal_error", "detail": "A bug.", "command": None}
    evidence.ledger.insert(0, {**deepcopy(sent), "told": failed})
    assert check(evidence)["nobody saw a bug"]
    evidence.refusing.append((sent["at"] - 1, sent["at"] + 1))
    assert {rule: wrong for rule, wrong in check(evidence).items() if wrong} == {}


def test_what_was_refused_before_it_was_done_was_judged_anew() -> None:
    evidence = deepcopy(SOUND)
    early = {"status": 409, "problem": "illegal_transition", "command": None}
    evidence.ledger.append({**deepcopy(_ledger(evidence, DONE, "ship")), "at": 1.0, "told": early})
    evidence.ledger.append({**deepcopy(evidence.ledger[0]), "at": 1.0, "told": _stock_refused()})
    assert {rule: wrong for rule, wrong in check(evidence).items() if wrong} == {}


@pytest.mark.parametrize(
    ("rule", "corrupt"),
    [pytest.param(rule, corrupt, id=f"{rule}: {what}") for rule, what, corrupt in CORRUPTIONS],
)
def test_the_rule_sees(rule: str, corrupt: Corruption) -> None:
    evidence = deepcopy(SOUND)
    corrupt(evidence)
    assert check(evidence)[rule], "the rule saw nothing"


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _, _ in CORRUPTIONS} == set(RULES)


def test_evidence_survives_being_saved(tmp_path: Path) -> None:
    SOUND.save(tmp_path / "evidence.json")
    assert Evidence.load(tmp_path / "evidence.json") == SOUND
    assert json.loads((tmp_path / "evidence.json").read_text())["ledger"]
