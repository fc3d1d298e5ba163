"""Money as people write it, and as the API wants it: 4.19 US dollars are 419 minor units. Exact, never a float."""

from decimal import Decimal, InvalidOperation
from typing import Final

DEFAULT_DIGITS: Final = 2
#: ISO 4217: the currencies whose minor unit is not a hundredth.
DIGITS: Final = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF")
        + ("XOF", "XPF"),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def digits(currency: str) -> int:
    """How many decimal digits the currency has."""
    return DIGITS.get(currency, DEFAULT_DIGITS)


def minor_units(text: str, currency: str) -> int:
    """``"4.19"`` USD is 419. Raises ValueError for what is no amount, or finer than the currency's minor unit."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount") from None
    sign, numbers, exponent = amount.as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > 30 or len(numbers) > 30:
        raise ValueError(f"{text!r} is not an amount")
    # By hand: Decimal's own arithmetic rounds to the context's precision.
    whole = int("".join(map(str, numbers)) or "0")
    shift = exponent + digits(currency)
    value, rest = (whole * 10**shift, 0) if shift >= 0 else divmod(whole, 10**-shift)
    if rest:
        raise ValueError(f"{text} {currency} is finer than the smallest coin ({digits(currency)} decimal digits)")
    return -value if sign else value


def money(amount: int, currency: str) -> str:
    """419 USD as ``4.19 USD``."""
    places = digits(currency)
    if not places:
        return f"{amount:,} {currency}"
    whole, part = divmod(abs(amount), 10**places)
    return f"{'-' if amount < 0 else ''}{whole:,}.{part:0{places}} {currency}"
