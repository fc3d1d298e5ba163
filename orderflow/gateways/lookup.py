"""What the payment gateway knows of one reference: its status, the money, the calls it had.

Not every gateway can be asked; this is how the simulator answers, and an adapter of another would do the same.
"""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

import httpx
from pydantic import Field, ValidationError

from orderflow.domain.errors import Unavailable
from orderflow.domain.model import Model

_GATEWAY = "payment gateway"


class GatewayCall(Model):
    """One call as the gateway noted it. ``outcome``: answered, replayed, lost (its answer), or failed."""

    operation: str
    status: int
    outcome: str
    called_at: datetime


class GatewayPayment(Model):
    """What is held (``authorized_count`` live holds) and taken, in minor units, and every call in order."""

    reference: UUID
    status: str | None = None
    amount: int | None = None
    currency: str | None = None
    authorized_count: int = 0
    captured_amount: int = 0
    refunded_amount: int = 0
    calls: Annotated[tuple[GatewayCall, ...], Field(default=())]


async def look_up(client: httpx.AsyncClient, reference: UUID, *, within_seconds: float) -> GatewayPayment | None:
    """The reference's entry; None: the gateway has never heard of it. Raises Unavailable."""
    try:
        async with asyncio.timeout(within_seconds):
            response = await client.get(f"/v1/payments/{reference}", follow_redirects=False)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise Unavailable(_GATEWAY, f"answered the look-up with {response.status_code}")
        return GatewayPayment.model_validate(response.json())
    except TimeoutError:
        raise Unavailable(_GATEWAY, f"no answer within {within_seconds:g} s") from None
    except httpx.RequestError as error:
        raise Unavailable(_GATEWAY, f"no answer: {type(error).__name__}") from None
    except (ValidationError, ValueError) as error:
        raise Unavailable(_GATEWAY, f"gave an entry that cannot be read: {type(error).__name__}") from None
