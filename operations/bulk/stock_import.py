"""Stating the stock of many SKUs, as ``orderflow stock import`` and the demo do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from operations.bulk.each import Advance, each
from orderflow.client import ApiClient, Refused, Unreachable, stock_path


@dataclass(slots=True)
class Import:
    """What came of it. ``created``: SKUs that were new; ``refused``: the problem of each; ``stopped``: why it ended."""

    skus: int
    created: int = 0
    counted: int = 0
    refused: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: str | None = None

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


async def import_stock(api: ApiClient, stock: Mapping[str, int], *, at_once: int, advance: Advance) -> Import:
    """State how many there are of each SKU. A refused one does not keep the others."""
    done = Import(len(stock))

    async def state(item: tuple[str, int]) -> None:
        sku, on_hand = item
        try:
            reply = await api.put(stock_path(sku), {"on_hand": on_hand})
        except Refused as error:
            if error.unavailable:
                raise
            done.refused[sku] = error.problem
            return
        if reply.status == HTTPStatus.CREATED:
            done.created += 1
        else:
            done.counted += 1

    try:
        await each(list(stock.items()), state, at_once=at_once, advance=advance)
    except (Unreachable, Refused) as error:
        done.stopped = str(error)
    return done
