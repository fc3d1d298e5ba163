"""What the payment gateway knows of one reference: its status, the money, the calls it had.

Not every gateway can be asked; this is how the simulator answers, and an adapter of another would do the same.
"""

from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, ValidationError

from orderflow.domain.errors import Failing
from orderflow.domain.model import Model
from orderflow.gateways.client import GATEWAY, GatewayClient, senseless
from orderflow.gateways.protocol import GatewayAmount, GatewayTime

#: The gateway's words are shown on terminals: printable ASCII.
_Word = Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]
#: Live holds of one reference. One is right; more, or fewer than none (captured twice), are to be seen, too.
_Holds = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
#: Bytes. An order that meets a dead gateway adds a call of some 250 bytes every 30 s: two days of that.
_MOST_BYTES: Final = 2 * 1024 * 1024


class GatewayCall(Model):
    """One call as the gateway noted it. ``outcome``: answered, replayed, lost (its answer), or failed."""

    operation: _Word
    status: Annotated[int, Field(ge=0, le=999)]
    outcome: _Word
    called_at: GatewayTime


class GatewayPayment(Model):
    """What is held (``authorized_count`` live holds) and taken, in minor units, and every call in order."""

    reference: UUID
    status: _Word | None = None
    amount: GatewayAmount | None = None
    currency: _Word | None = None
    authorized_count: _Holds = 0
    captured_amount: GatewayAmount = 0
    capture_id: _Word | None = None
    refunded_amount: GatewayAmount = 0
    calls: Annotated[tuple[GatewayCall, ...], Field(default=())]


async def look_up(client: GatewayClient, reference: UUID) -> GatewayPayment | None:
    """The reference's entry, and no other's; None: the gateway has never heard of it. Raises Unavailable."""
    reply = await client.exchange("the look-up", "GET", f"/v1/payments/{reference}", most_bytes=_MOST_BYTES)
    if reply.status == 404:
        return None
    if reply.status != 200:
        raise Failing(GATEWAY, f"HTTP {reply.status}")
    try:
        found = GatewayPayment.model_validate_json(reply.body, strict=True)
    except ValidationError:
        raise senseless("the look-up", "it is no entry of a payment") from None
    if found.reference != reference:
        raise senseless("the look-up", "it is another payment's")
    return found
