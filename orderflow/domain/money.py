"""Money: integer minor units with an ISO 4217 code. 419 USD is 4.19 dollars; no float on the way, in or out."""

import re
from typing import Annotated, Final

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

DEFAULT_DIGITS: Final = 2
_WHOLE = (
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "UYI",
    "VND",
    "VUV",
    "XAF",
    "XOF",
)
_THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
#: ISO 4217: the currencies whose minor unit is not a hundredth.
DIGITS: Final = {
    **dict.fromkeys((*_WHOLE, "XPF"), 0),
    **dict.fromkeys(_THOUSANDTHS, 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_AMOUNT: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,30}))?")


def digits(currency: str) -> int:
    """How many decimal digits the currency has."""
    return DIGITS.get(currency, DEFAULT_DIGITS)


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
