"""Money: integer minor units with an ISO 4217 code. 419 USD is 4.19 dollars; 4.19 is refused."""

from typing import Annotated

from pydantic import Field, StrictInt

MAX_AMOUNT = 10**12

Amount = Annotated[
    StrictInt,
    Field(gt=0, le=MAX_AMOUNT, description="Integer minor units (419 is 4.19 in USD).", examples=[419]),
]
Currency = Annotated[
    str,
    Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.", examples=["USD"]),
]
