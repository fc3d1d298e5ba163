"""How an order's story and the stuck orders look."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID

import pytest
from rich.console import Console, RenderableType

from cli.pages import explain as pages
from operations.explain.causes import Cause, Verdict
from operations.explain.facts import Facts, Run, StoryLine
from operations.explain.lines import of_gateway, of_handover, of_stream, of_trail
from operations.explain.stuck import Member, Stuck, group
from operations.explain.verdict import verdicts_on
from operations.words import duration, short
from orderflow.gateways.lookup import GatewayCall, GatewayPayment
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import OrderFact
from orderflow.store.trail import Asked, Recorded, Relayed, Trail

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ORDER = UUID("00000000-0000-4000-8000-000000000001")
HANDOVER = PendingHandover("cancel", NOW - timedelta(seconds=20), NOW, 2, None)
FACTS = Facts(ORDER, NOW, run=Run("running", NOW, "DRAFT"), order=OrderFact(ORDER, "DRAFT", 1, NOW, NOW))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def shown(page: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=120).print(page)
    return out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0123, "0.012 s"),
        (7.04, "7.0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_span_has_its_largest_fitting_units(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


def test_a_long_text_is_cut_and_put_on_one_line() -> None:
    assert short("a\n  b.") == "a b"
    assert short("x" * 200) == "x" * 159 + "…"
    assert short(None) == ""


def test_the_story_has_the_verdict_on_top_and_the_time_since_the_line_before() -> None:
    lines = [
        StoryLine(ago(90), "temporal", "workflow started"),
        StoryLine(ago(1.5), "orders", "ORDER_CREATED [bold]", True),
    ]
    page = shown(pages.story(FACTS, lines, verdicts_on(FACTS)))
    first, second = page.index("waits for its customer"), page.index("workflow started")
    assert first < second
    assert "2026-11-23 11:58:30.000" in page
    assert "1 min 28 s" in page
    assert "ORDER_CREATED [bold]" in page  # nothing that others wrote is markup


def test_a_story_of_nothing_has_no_table() -> None:
    facts = Facts(ORDER, NOW, run=Run("missing"))
    assert "time (UTC)" not in shown(pages.story(facts, [], verdicts_on(facts)))


def test_an_order_is_over_when_its_row_is_final_and_its_workflow_has_ended_or_never_began() -> None:
    closed = Run("closed", NOW, "CANCELLED", "COMPLETED")
    cancelled = OrderFact(ORDER, "CANCELLED", 2, NOW, NOW)
    assert pages.is_over(Facts(ORDER, NOW, run=closed, order=cancelled))
    assert pages.is_over(Facts(ORDER, NOW, run=Run("missing"), order=cancelled))  # as a DRAFT
    assert not pages.is_over(Facts(ORDER, NOW, run=closed, order=cancelled, handover=HANDOVER))
    assert not pages.is_over(Facts(ORDER, NOW, run=closed))
    assert not pages.is_over(Facts(ORDER, NOW, run=closed, unread={"orders": "away"}))
    assert not pages.is_over(Facts(ORDER, NOW, run=closed, order=FACTS.order))
    assert not pages.is_over(Facts(ORDER, NOW, run=FACTS.run, order=cancelled))
    assert not pages.is_over(Facts(ORDER, NOW, order=cancelled, unread={"temporal": "away"}))


def test_the_story_for_programs() -> None:
    lines = [StoryLine(ago(2), "temporal", "workflow started"), StoryLine(ago(1.5), "orders", "ORDER_CREATED", True)]
    document = json.loads(json.dumps(pages.story_document(FACTS, lines, verdicts_on(FACTS))))
    assert document["status"] == "DRAFT"
    assert document["verdict"]["cause"] == "customer"
    assert [line["after_seconds"] for line in document["timeline"]] == [None, 0.5]
    assert document["timeline"][1]["trouble"] is True
    assert (document["handover"], document["expires_at"]) == (None, None)
    facts = replace(FACTS, handover=HANDOVER, expires_at=NOW)
    document = json.loads(json.dumps(pages.story_document(facts, [], verdicts_on(facts))))
    assert (document["handover"]["name"], document["handover"]["attempts"]) == ("cancel", 2)
    assert document["expires_at"] == "2026-11-23T12:00:00+00:00"


def test_a_handover_that_waits_is_a_line() -> None:
    facts = replace(FACTS, handover=HANDOVER)
    [waits] = of_handover(facts)
    assert (waits.what, waits.trouble) == ("Temporal has not been told of cancel yet, after 20 s, tried twice", True)
    [refused] = of_handover(replace(facts, handover=replace(HANDOVER, attempts=0, refused="too large")))
    assert refused.what == "Temporal has not been told of cancel yet, after 20 s: it refuses it (too large)"
    [young] = of_handover(replace(facts, handover=replace(HANDOVER, written_at=ago(1))))
    assert not young.trouble


def test_a_source_that_was_not_read_is_named_once() -> None:
    facts = Facts(ORDER, NOW, unread={"gateway": "no answer"}, run=FACTS.run, order=FACTS.order)
    assert shown(pages.story(facts, [], verdicts_on(facts))).count("no answer") == 1


def member(number: int, cause: Cause, what: str, seconds: float | None) -> Member:
    since = None if seconds is None else ago(seconds)
    return Member(UUID(int=number), "APPROVED", Verdict(cause, "waits", f"It waits: {what}.", "Do it.", since, what))


def test_the_stuck_are_grouped_the_most_urgent_first_and_the_longest_waiting_first() -> None:
    groups = group(
        [
            member(1, Cause.KAFKA_AWAY, "Kafka", 900),
            member(2, Cause.STEP_FAILS, "authorize fails", 10),
            member(3, Cause.STEP_FAILS, "authorize fails", 20),
            member(4, Cause.STEP_FAILS, "reserve fails", 30),
            member(5, Cause.TEMPORAL_AWAY, "Temporal", None),
        ]
    )
    assert [[m.order_id.int for m in members] for members in groups] == [[5], [3, 2], [4], [1]]


def test_the_stuck_on_a_terminal_and_for_programs() -> None:
    members = [member(number, Cause.STEP_FAILS, "authorize fails", 100 + number) for number in range(1, 13)]
    found = Stuck(NOW, looked_at=20, groups=group(members))
    page = shown(pages.stuck_page(found))
    assert "12 orders: authorize fails" in page
    assert "and 2 more" in page
    assert f"{UUID(int=12)}  APPROVED    for 1 min 52 s" in page
    document = json.loads(json.dumps(pages.stuck_document(found)))
    assert (document["stuck"], len(document["groups"][0]["orders"])) == (12, 12)


RELAY = Relayed(NOW, None, None, None, NOW)


def recorded(version: int, **where: object) -> Recorded:
    values = {"partition": None, "offset": None, "published_at": None, "waits": False, **where}
    data = {"reason": "customer"} if version == 2 else {}
    return Recorded(version, "ORDER_STATE_CHANGED", "CANCELLED", data, "c:1", "x", ago(30), **values)  # type: ignore[arg-type]


def test_events_refusals_and_where_they_stand() -> None:
    refused = Asked("c:2", "ship", {"slug": "not_allowed", "detail": "It is CANCELLED."}, ago(20))
    pending = Asked("c:3", "ship", None, ago(19))
    events = (
        recorded(1, partition=3, offset=7, published_at=ago(29)),
        recorded(2, partition=3, offset=8, published_at=ago(2)),
        recorded(3, waits=True),
    )
    trail = Trail(events, (refused, pending), RELAY)
    assert [line.what for line in of_trail("orders", trail)] == [
        "ORDER_STATE_CHANGED: CANCELLED, version 1",
        "ORDER_STATE_CHANGED: CANCELLED (customer), version 2",
        "ORDER_STATE_CHANGED: CANCELLED, version 3",
        "ship refused (c:2): It is CANCELLED.",
        "ship accepted (c:3), not done yet",
    ]
    stream = list(of_stream("orders", trail, {("orders", 1): ago(28.5)}))
    assert [(line.what, line.trouble) for line in stream] == [
        ("orders version 1 at partition 3, offset 7; tracked 0.500 s later", False),
        ("orders version 2 at partition 3, offset 8, 28 s after it was recorded; not tracked", True),
        ("orders version 3 is not on Kafka yet, after 30 s", True),
    ]


def test_repairs_and_interventions_are_told_as_such() -> None:
    repaired = Asked("r:nudge:1", "nudge", {"slug": "repaired", "detail": "row ahead"}, ago(3))
    nudged = Asked("r:nudge:2", "nudge", {"slug": "operator", "detail": "it hung (by op)"}, ago(2))
    assert [line.what for line in of_trail("orders", Trail((), (repaired, nudged), RELAY))] == [
        "nudge by reconciliation (r:nudge:1): row ahead",
        "nudge by an operator (r:nudge:2): it hung (by op)",
    ]


def test_both_refusals_are_told_and_a_door_with_nothing_behind_it_is_no_refusal() -> None:
    data = {"reason": "payment_declined", "refusals": {"payment": "payment_declined", "inventory": "out_of_stock"}}
    event = Recorded(3, "ORDER_STATE_CHANGED", "CANCELLED", data, "w:fail", "x", ago(30), None, None, None, False)
    [line] = of_trail("orders", Trail((event,), (), RELAY))
    assert line.what.endswith("CANCELLED (payment: payment_declined, inventory: out_of_stock), version 3")

    def shut(status: str) -> StoryLine:
        problem = {"slug": "illegal_transition", "detail": f"Cannot void: it is {status}.", "current_status": status}
        [line] = of_trail("payments", Trail((), (Asked("w:void", "void", problem, ago(2)),), RELAY))
        return line

    assert (shut("DECLINED").what, shut("DECLINED").trouble) == ("void (w:void) found nothing to undo: DECLINED", False)
    assert (shut("CAPTURED").what, shut("CAPTURED").trouble) == ("void (w:void) came too late: CAPTURED", True)


def test_an_event_behind_lost_records_says_so() -> None:
    relay = Relayed(NOW, None, None, None, NOW, 7, ago(20))
    [line] = of_stream("orders", Trail((recorded(2, waits=True),), (), relay), {})
    assert line.what.endswith("is not on Kafka yet, after 30 s: partition 7, where it belongs, has lost records")
    [line] = of_stream("orders", Trail((recorded(2, waits=True),), (), replace(relay, stopped_cause="made_anew")), {})
    assert line.what.endswith("partition 7, where it belongs, lacks what was there before the topic was made anew")


def test_a_parked_order_is_told_once_instead_of_each_event_that_waits() -> None:
    relay = Relayed(NOW, 2, "MessageSizeTooLarge", ago(10), NOW)
    [line] = of_stream("orders", Trail((recorded(2, waits=True), recorded(3, waits=True)), (), relay), {})
    assert (line.what, line.at) == ("orders parked at version 2: MessageSizeTooLarge", ago(10))


def test_the_gateways_calls() -> None:
    calls = tuple(
        GatewayCall(operation="authorize", status=status, outcome=outcome, called_at=NOW)
        for status, outcome in ((503, "failed"), (200, "lost"), (200, "replayed"))
    )
    lines = list(of_gateway(GatewayPayment(reference=ORDER, status="authorized", calls=calls)))
    assert [(line.what, line.trouble) for line in lines] == [
        ("authorize: 503, failed", True),
        ("authorize: 200, happened, its answer was lost", True),
        ("authorize: 200, asked again, the same answer", False),
    ]
