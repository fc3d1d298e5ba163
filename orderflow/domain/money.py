"""Money: integer minor units with an ISO 4217 code. 419 USD is 4.19 dollars; no float on the way, in or out."""

import re
from typing import Annotated, Final

import iso4217
from pydantic import Field, StrictInt
from pydantic_core import PydanticCustomError

MAX_AMOUNT = 10**12

Amount = Annotated[
    StrictInt,
    Field(gt=0, le=MAX_AMOUNT, description="Integer minor units (419 is 4.19 in USD).", examples=[419]),
]
Currency = Annotated[
    str,
    Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.", examples=["USD"]),
]

DEFAULT_DIGITS: Final = 2
#: ISO 4217: how many decimal digits each currency has. What is none to pay with, as gold and tests, has no such number.
DIGITS: Final = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}
_AMOUNT: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,30}))?")


def known(currency: str) -> str:
    """The currency, if ISO 4217 has it today and amounts of it have a minor unit. Raises PydanticCustomError."""
    if currency not in DIGITS:
        raise PydanticCustomError("currency", "Must be the ISO 4217 code of money that one can pay with, such as USD")
    return currency


def digits(currency: str) -> int:
    """How many decimal digits the currency has."""
    return DIGITS.get(currency, DEFAULT_DIGITS)  # one that was taken out of ISO 4217 stands in old orders


def minor_units(text: str, currency: str) -> int:
    """``"4.19"`` USD is 419. Raises ValueError for what is no amount, or finer than the currency's minor unit."""
    amount = _AMOUNT.fullmatch(text)
    if amount is None:
        raise ValueError(f"{text!r} is not an amount such as 4.19")
    places = digits(currency)
    fraction = (amount[2] or "").rstrip("0")
    if len(fraction) > places:
        raise ValueError(f"{text} is finer than {currency} has decimal digits ({places})")
    return int(amount[1] + fraction.ljust(places, "0"))


def money(amount: int, currency: str) -> str:
    """419 USD as ``4.19 USD``."""
    places = digits(currency)
    whole, fraction = divmod(abs(amount), 10**places)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole:,}{f'.{fraction:0{places}}' if places else ''} {currency}"
