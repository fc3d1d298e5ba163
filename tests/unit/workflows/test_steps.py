"""A worker serves every step of its contract: nothing is registered by hand."""

from typing import Any, cast

import pytest
from temporalio import activity

from activities.inventory import InventoryActivities
from activities.near import NearInventory, NearPayments
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from orderflow.domain.orders import was_approved
from orderflow.temporal.worker import steps_of
from workflows.steps import InventorySteps, OrderSteps, PaymentSteps

NOBODY = cast(Any, None)
OF_INVENTORY = ["reserve_inventory", "commit_inventory", "release_inventory"]
OF_PAYMENTS = ["authorize_payment", "capture_payment", "void_payment"]


@pytest.mark.parametrize(
    ("contract", "steps", "names"),
    [
        (InventorySteps, InventoryActivities(NOBODY), OF_INVENTORY),
        (InventorySteps, NearInventory(None), OF_INVENTORY),
        (PaymentSteps, PaymentActivities(NOBODY, NOBODY), OF_PAYMENTS),
        (PaymentSteps, NearPayments(None), OF_PAYMENTS),
        (OrderSteps, OrderActivities(NOBODY), ["look", "move_order", "end_ship"]),
    ],
)
def test_a_worker_serves_every_step_of_its_contract(contract: type, steps: object, names: list[str]) -> None:
    found = steps_of(contract, steps)
    assert [activity._Definition.must_from_callable(step).name for step in found] == names
    assert all(step.__self__ is steps for step in cast(Any, found))


@pytest.mark.parametrize(
    ("status", "version", "approved"),
    [(None, 0, False), ("DRAFT", 1, False), ("CANCELLED", 2, False), ("APPROVED", 2, True), ("CANCELLED", 3, True)],
)
def test_whether_an_order_was_approved_is_told_by_its_row(status: str | None, version: int, approved: bool) -> None:
    assert was_approved(status, version) is approved
