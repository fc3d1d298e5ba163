"""Temporal's errors in our words: what is an outage, and what is wrong with one order's own request."""

from typing import Any, cast
from uuid import UUID

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import AccessDenied, Failing, Unavailable
from orderflow.domain.handovers import Handover
from orderflow.temporal.answering import answering
from orderflow.temporal.runs import OrderRuns, TemporalRefuses

APPROVE = Handover(UUID(int=1), 1, "approve")
SHIP = Handover(UUID(int=1), 2, "ship")
OF_ACCESS = {RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED}
OUTAGES = [status for status in RPCStatusCode if status is not RPCStatusCode.INVALID_ARGUMENT]


class Answering:
    """A client whose server answers every start with this status."""

    def __init__(self, status: RPCStatusCode) -> None:
        self.status = status

    async def start_workflow(self, *arguments: Any, **options: Any) -> None:
        raise RPCError("said by the server", self.status, b"")


def runs(status: RPCStatusCode) -> OrderRuns:
    return OrderRuns.of(cast("Client", Answering(status)))


@pytest.mark.parametrize("handover", [APPROVE, SHIP], ids=["approve", "ship"])
@pytest.mark.parametrize("status", OUTAGES, ids=lambda status: status.name)
async def test_what_no_order_can_cause_is_an_outage(status: RPCStatusCode, handover: Handover) -> None:
    """A wrong port, a proxy (UNIMPLEMENTED), a namespace that is not there (NOT_FOUND), a key that is not taken."""
    with pytest.raises(Unavailable, match="temporal: said by the server") as raised:
        await runs(status).tell(handover)
    assert isinstance(raised.value, AccessDenied) == (status in OF_ACCESS)
    assert isinstance(raised.value, Failing) == (status is RPCStatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("handover", [APPROVE, SHIP], ids=["approve", "ship"])
async def test_a_request_that_is_wrong_is_the_orders_own_trouble(handover: Handover) -> None:
    with pytest.raises(TemporalRefuses, match="said by the server"):
        await runs(RPCStatusCode.INVALID_ARGUMENT).tell(handover)


async def test_silence_is_an_outage() -> None:
    for error in (TimeoutError(), ConnectionRefusedError()):
        with pytest.raises(Unavailable, match="no answer in time"):
            async with answering():
                raise error
