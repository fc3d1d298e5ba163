"""Placing the baskets of a file: each becomes one order, however often the file is sent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from operations.bulk.csv_files import Basket
from operations.bulk.each import Advance, each
from operations.words import counted
from orderflow.client import ApiClient, How, Refused, Unreachable

Fate = Literal["placed", "already_there", "refused"]
IN_WORDS: Final[dict[Fate, str]] = {
    "placed": "placed",
    "already_there": "already there",
    "refused": "refused",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of a basket."""

    basket_id: str
    fate: Fate
    order_id: str | None = None
    order_status: str | None = None
    problem: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Placing:
    """What came of all of them. ``stopped``: why it ended early."""

    baskets: int
    results: list[Placed] = field(default_factory=list)
    stopped: str | None = None

    def count(self, fate: Fate) -> int:
        """How many ended so."""
        return Counter(result.fate for result in self.results)[fate]

    def summary(self) -> str:
        """How many ended in which way, in a sentence."""
        counts = {fate: self.count(fate) for fate in IN_WORDS}
        parts = [f"{n} {IN_WORDS[fate]}" for fate, n in counts.items() if n or fate == "placed"]
        return f"{counted(self.baskets, 'basket')}: {', '.join(parts)}"

    @property
    def refused(self) -> list[Placed]:
        """Those that the API refused."""
        return [result for result in self.results if result.fate == "refused"]

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "baskets": self.baskets,
            "placed": self.count("placed"),
            "already_there": self.count("already_there"),
            "refused": self.count("refused"),
            "stopped": self.stopped,
            "orders": [asdict(result) for result in self.results],
        }


async def place_baskets(
    api: ApiClient,
    baskets: Sequence[Basket],
    *,
    currency: str,
    payment_token: str,
    at_once: int,
    advance: Advance,
) -> Placing:
    """Place ``baskets``. A refused one does not keep the others; when the API goes away it ends early.

    ``advance`` is called for each that is done.
    """
    placing = Placing(len(baskets))

    async def place(basket: Basket) -> None:
        try:
            reply = await api.post("/orders", basket.body(currency, payment_token), How(key=basket.key))
        except Refused as error:
            if error.unavailable:
                raise
            placing.results.append(Placed(basket.id, "refused", problem=error.problem))
            return
        fate: Fate = "already_there" if reply.replayed else "placed"
        placing.results.append(Placed(basket.id, fate, reply.data["id"], reply.data.get("status")))

    try:
        await each(baskets, place, at_once=at_once, advance=advance)
    except (Unreachable, Refused) as error:
        placing.stopped = str(error)
    return placing
