"""What people read in the Temporal Web UI."""

from workflows.narration import details, waits_for
from workflows.steps import StepOutcome

OK = StepOutcome(state="ok")


def test_an_order_waits_for_its_steps_and_for_people() -> None:
    assert list(waits_for("APPROVED", {"authorize": None, "reserve": OK})) == [
        "the payment service to authorize the payment"
    ]
    assert list(waits_for("FULFILLING", {"authorize": OK, "reserve": OK})) == ["somebody to ship or cancel it"]
    assert list(waits_for("CANCELLED", {"void": None})) == ["the payment service to void the payment"]
    assert list(waits_for("COMPLETED", {})) == []


def test_nobody_can_ship_or_cancel_while_the_capture_is_under_way() -> None:
    assert list(waits_for("FULFILLING", {"capture": None})) == ["the payment service to capture the payment"]


def test_the_page_says_where_the_order_stands_and_what_its_steps_came_to() -> None:
    page = details("FULFILLING", 3, "1.98 USD", {"authorize": OK, "reserve": OK})
    assert page == (
        "**FULFILLING** (version 3), 1.98 USD\n\n"
        "Waits for somebody to ship or cancel it.\n\n"
        "- authorize: ok\n- reserve: ok"
    )
