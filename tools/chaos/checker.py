"""The checker: every rule on the evidence, by nobody's word but the servers' and the client's.

Separate from the code under test: no module of it is imported, here or in the rules.
"""

from collections.abc import Callable, Iterable
from typing import Final

from tools.chaos import rules_events, rules_foreign, rules_money, rules_rest, rules_stock, rules_stream, rules_told
from tools.chaos.evidence import Evidence

Rule = Callable[[Evidence], Iterable[str]]

RULES: Final[dict[str, Rule]] = {
    "accepted = present": rules_told.accepted_is_present,
    "commands: once, and as told": rules_told.commands_as_told,
    "a refusal wrote no row": rules_told.refusals_wrote_nothing,
    "stock commands: once, and as told": rules_told.stock_as_told,
    "a key stands for one request": rules_told.keys_stand_for_one_request,
    "nobody saw a bug": rules_told.nobody_saw_a_bug,
    "versions 1..n": rules_events.versions_without_gaps,
    "fold(events) = status": rules_events.fold_is_status,
    "Kafka = events": rules_stream.kafka_is_events,
    "Kafka in order, one partition a key": rules_stream.kafka_in_order,
    "published where it says": rules_stream.published_where_it_says,
    "one hold, one capture": rules_money.one_hold_one_capture,
    "money follows orders": rules_money.money_follows_orders,
    "payments = gateway": rules_money.payments_are_gateway,
    "stock = movements": rules_stock.stock_is_movements,
    "reserved = reservations, no oversell": rules_stock.reserved_is_reservations,
    "stock follows orders": rules_stock.stock_follows_orders,
    "every order at rest": rules_rest.orders_at_rest,
    "no handover is left": rules_rest.nothing_is_left_to_tell,
    "tokens of DRAFT and APPROVED orders only": rules_rest.tokens_are_gone,
    "no workflow was lost but by hand": rules_rest.nothing_else_was_brought_back,
    "no failed workflow": rules_rest.workflows_never_failed,
    "workflow tasks recovered": rules_rest.workflow_tasks_recovered,
    "tracking = truth": rules_stream.tracking_is_truth,
    "effects once": rules_stream.effects_once,
    "foreign records were passed": rules_foreign.foreign_records_were_passed,
    "dead letters are foreign records": rules_foreign.dead_letters_are_foreign,
    "every fault was felt": rules_foreign.faults_were_felt,
}


def check(evidence: Evidence) -> dict[str, list[str]]:
    """What is wrong, by rule; an empty list: the rule holds."""
    return {name: list(rule(evidence)) for name, rule in RULES.items()}
