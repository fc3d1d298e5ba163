"""How often a caller may ask: reads and writes of a principal, and whoever is nobody we know by address; else 429."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Literal

from api.http.problems import TYPES, ProblemAnswer
from api.limits.counting import Counting, SharedCounters
from orderflow.domain.errors import Problem
from orderflow.rates import limit_of
from orderflow.settings import Settings
from orderflow.telemetry.metrics import LIMITED

Name = Literal["reads", "writes", "anonymous", "failed_authentications"]
_WHAT: Final[Mapping[Name, str]] = {
    "reads": "reads of this principal",
    "writes": "writes of this principal",
    "anonymous": "requests without a principal from this address",
    "failed_authentications": "failed authentications from this address",
}
#: A refusal is held back so long; and no more of them at once, as each is a request that this process has in hand.
HOLD_SECONDS: Final = 0.5
MOST_HELD: Final = 200
#: Whether a command was carried out before, or cannot be: then it leaves nothing behind, and is answered whoever asks.
Known = Callable[[], Awaitable[bool]]
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class _Held:
    """Refusals that are held back: who asks again as soon as it is refused waits a little, so that others do not."""

    def __init__(self) -> None:
        self._number = 0

    async def hold(self) -> None:
        """Hold one back, unless too many are."""
        if self._number < MOST_HELD:
            self._number += 1
            try:
                await asyncio.sleep(HOLD_SECONDS)
            finally:
                self._number -= 1


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of one process; a name that is not there is not limited."""

    counting: Mapping[Name, Counting]
    shared: SharedCounters | None = None
    _held: _Held = field(default_factory=_Held)

    async def take(self, name: Name, who: str) -> None:
        """Count one more of ``who``. Raises ProblemAnswer (429)."""
        counting = self.counting.get(name)
        if counting is None or await counting.hit(who):
            return
        await self._held.hold()
        raise too_many(
            name,
            f"More than {counting.item.amount} {_WHAT[name]} in {counting.item.get_expiry()} s.",
            quota=counting.item.amount,
            window=counting.item.get_expiry(),
            seconds=await counting.seconds(who),
        )

    async def close(self) -> None:
        """Leave the server on which processes count together."""
        if self.shared is not None:
            await self.shared.close()

    async def takes_strangers(self, address: str) -> bool:
        """Whether somebody whom nobody remembers is looked up for ``address``."""
        counting = self.counting.get("failed_authentications")
        return counting is None or await counting.allows(address)


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings say."""
    url = settings.api_limits_url
    shared = SharedCounters(url.get_secret_value()) if url is not None else None
    rates: dict[Name, str] = {
        "reads": settings.api_limit_reads,
        "writes": settings.api_limit_writes,
        "anonymous": settings.api_limit_anonymous,
        "failed_authentications": settings.api_limit_failed_authentications,
    }
    items = {name: limit_of(rate) for name, rate in rates.items()}
    return Limits({name: Counting(item, name, shared) for name, item in items.items() if item is not None}, shared)


def route_class(method: str) -> Literal["reads", "writes"]:
    """What a request counts as."""
    return "reads" if method in _READING else "writes"


def peer(scope: Mapping[str, Any]) -> str:
    """Whose address a request comes from. Of IPv6 the first 64 bits: whoever has one address there has them all."""
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0] if client else "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def too_many(limit: str, detail: str, *, quota: int, window: int, seconds: float) -> ProblemAnswer:
    """429, with when to come back (RFC 9110) and the limit (draft-ietf-httpapi-ratelimit-headers).

    ``quota`` in ``window`` seconds; ``seconds`` until there is more.
    """
    LIMITED.add(limit)
    wait = max(1, ceil(seconds))
    headers = {
        "Retry-After": str(wait),
        "RateLimit-Policy": f'"{limit}";q={quota};w={window}',
        "RateLimit": f'"{limit}";r=0;t={wait}',
    }
    kind = TYPES["too_many_requests"]
    return ProblemAnswer(Problem(slug="too_many_requests", detail=detail, status=kind.status), headers=headers)
