"""How often something may happen, as settings say it: ``600/minute``, ``10/5 seconds``; ``off``: without a limit."""

from typing import Annotated, Final

from limits import RateLimitItem, parse
from pydantic import AfterValidator

from orderflow import urls

OFF: Final = "off"
#: A server that speaks Redis' protocol.
SCHEMES: Final = ("valkey", "valkeys", "redis", "rediss")


def limit_of(rate: str) -> RateLimitItem | None:
    """The limit; None: there is none. Raises ValueError, which says the rule."""
    if rate == OFF:
        return None
    try:
        item = parse(rate)
    except ValueError:
        raise ValueError("it is not like 600/minute, 10/5 seconds or off") from None
    if item.amount < 1 or item.get_expiry() < 1:
        raise ValueError("it must allow one at least, in a second at least; or say off")
    return item


def _rate(rate: str) -> str:
    limit_of(rate)
    return rate


def server(url: str) -> str:
    """``url`` if it leads to a server that speaks Redis' protocol. Raises ValueError, which says the rule."""
    return urls.check(url, SCHEMES)


Rate = Annotated[str, AfterValidator(_rate)]
