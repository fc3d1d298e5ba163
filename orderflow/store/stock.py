"""Stock, as people set and adjust it.

The same rule as for orders, on another record: one statement changes the ``stock`` row and appends a
``stock_movements`` row, at most once per command id. The movement is the command's record: what it made is answered
again when it is sent again. Stock that orders reserved cannot be taken away.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from orderflow.domain.access import SYSTEM, Actor
from orderflow.domain.commands import ANY_VERSION, Precondition, idempotency_conflict, version_conflict
from orderflow.domain.errors import Problem, Rejection
from orderflow.domain.inventory import MAX_STOCK
from orderflow.store.database import Database
from orderflow.store.errors import TRIES, always_lost, unless_lost
from orderflow.store.statements import Cte, Statement, chain
from orderflow.store.write_rule import AS_DEMANDED

_NEW_COMMAND = "NOT EXISTS (SELECT FROM stock_movements WHERE command_id = $command_id)"

_MOVEMENT = Cte(
    "movement",
    """
    INSERT INTO stock_movements (sku, kind, delta, reason, command_id, request_hash, on_hand, reserved, version,
                                 authtype, authid)
    SELECT sku, $kind, delta, $reason, $command_id, $request_hash, on_hand, reserved, version, $authtype, $authid
    FROM moved
    RETURNING sku, kind, delta, on_hand, reserved, version, recorded_at""",
)
_ANSWER = "SELECT sku, kind, delta, on_hand, reserved, version, recorded_at FROM movement"


def _change(on_hand: str) -> str:
    """Lock the row, see whether the new amount is possible, write it and the movement."""
    locked = Cte(
        "locked",
        f"""
    SELECT on_hand, {on_hand} AS wanted FROM stock
    WHERE sku = $sku AND {AS_DEMANDED}
      AND {on_hand} BETWEEN reserved AND {MAX_STOCK}
      AND {_NEW_COMMAND}
    FOR UPDATE""",
    )
    moved = Cte(
        "moved",
        """
    UPDATE stock s SET on_hand = locked.wanted::int, version = s.version + 1, updated_at = clock_timestamp()
    FROM locked WHERE s.sku = $sku
    RETURNING s.sku, (s.on_hand - locked.on_hand) AS delta, s.on_hand, s.reserved, s.version""",
    )
    return chain([locked, moved, _MOVEMENT], _ANSWER)


_SET = Statement(
    "stock.set",
    "Sets how many pieces of a SKU there are, to no fewer than orders hold.",
    _change("$amount::bigint"),
)
_ADJUST = Statement(
    "stock.adjust",
    "Adds pieces of a SKU or takes them away, down to what orders hold.",
    _change("on_hand::bigint + $amount::bigint"),
)

_FIRST = Cte(
    "moved",
    f"""
    INSERT INTO stock (sku, on_hand, version)
    SELECT $sku::text, $amount::bigint::int, 1
    WHERE NOT EXISTS (SELECT FROM stock WHERE sku = $sku)
      AND {_NEW_COMMAND}
    RETURNING sku, on_hand AS delta, on_hand, reserved, version""",
)
_CREATE = Statement(
    "stock.create",
    "Makes a SKU's stock, where there is none.",
    chain([_FIRST, _MOVEMENT], _ANSWER),
)

_LOOK_UP = Statement(
    "stock.look_up",
    "Reads a SKU's stock as it stands, and the movement that a command made: why it changed nothing.",
    """
    SELECT s.sku AS row_sku, s.on_hand AS row_on_hand, s.reserved AS row_reserved, s.version AS row_version,
           m.sku, m.kind, m.delta, m.request_hash, m.on_hand, m.reserved, m.version, m.recorded_at
    FROM (SELECT $sku::text AS sku) k
    LEFT JOIN stock s ON s.sku = k.sku
    LEFT JOIN stock_movements m ON m.command_id = $command_id""",
)

_COLUMNS = "sku, on_hand, reserved, version, updated_at"
_READ = Statement(
    "stock.read",
    "Reads one SKU's stock.",
    f"SELECT {_COLUMNS} FROM stock WHERE sku = $sku",
)
_PAGE = Statement(
    "stock.page",
    "Reads the first SKUs with their stock.",
    f"SELECT {_COLUMNS} FROM stock ORDER BY sku LIMIT $limit",
)
_NEXT_PAGE = Statement(
    "stock.next_page",
    "Reads the SKUs after one, with their stock.",
    f"SELECT {_COLUMNS} FROM stock WHERE sku > $after ORDER BY sku LIMIT $limit",
)


@dataclass(frozen=True, slots=True)
class Stock:
    """How many pieces there are (``on_hand``), and how many of them orders hold (``reserved``)."""

    sku: str
    on_hand: int
    reserved: int
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StockCommand:
    """A request to change one SKU's stock."""

    sku: str
    id: str
    request_hash: str
    precondition: Precondition = ANY_VERSION
    actor: Actor = SYSTEM


@dataclass(frozen=True, slots=True)
class StockChange:
    """What a command made: the stock as it was then, and by how much it changed."""

    stock: Stock
    delta: int
    replayed: bool

    @property
    def created(self) -> bool:
        """Whether this was the SKU's first."""
        return self.stock.version == 1


class StockKeeper:
    """Reads and changes stock. Every method raises Unavailable; the changes raise Rejection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, sku: str) -> Stock | None:
        """One SKU's stock."""
        row = await self._database.one(_READ, {"sku": sku})
        return Stock(**row) if row else None

    async def page(self, after: str | None, limit: int) -> list[Stock]:
        """At most ``limit`` SKUs in their order, from after ``after`` on."""
        statement, values = (
            (_PAGE, {"limit": limit}) if after is None else (_NEXT_PAGE, {"limit": limit, "after": after})
        )
        return [Stock(**row) for row in await self._database.all(statement, values)]

    async def set(self, command: StockCommand, on_hand: int) -> StockChange:
        """State how many there are. The first time, the SKU comes into being."""
        return await self._carry_out(command, "set", on_hand, None)

    async def adjust(self, command: StockCommand, delta: int, reason: str) -> StockChange:
        """More or fewer, because of ``reason``."""
        return await self._carry_out(command, "adjust", delta, reason)

    async def _carry_out(self, command: StockCommand, kind: str, amount: int, reason: str | None) -> StockChange:
        values = {
            "sku": command.sku,
            "command_id": command.id,
            "request_hash": command.request_hash,
            "authtype": command.actor.type,
            "authid": command.actor.id,
            "versions": command.precondition.versions,
            "other_than": command.precondition.other_than,
            "kind": kind,
            "amount": amount,
            "reason": reason,
        }
        statement = _SET if kind == "set" else _ADJUST
        for _ in range(TRIES):
            row = await unless_lost(self._database.one(statement, values))
            if row is not None:
                return _change_of(row, replayed=False)
            seen = await self._database.one(_LOOK_UP, values)
            if seen is None:  # the statement always gives a row
                raise RuntimeError("the look-up of a stock command gave no row")
            if seen["sku"] is not None:
                if (seen["request_hash"], seen["sku"]) != (command.request_hash, command.sku):
                    raise Rejection(idempotency_conflict())
                return _change_of(seen, replayed=True)
            if problem := _refusal(command, kind, amount, seen):
                raise Rejection(problem)
            statement = _CREATE if seen["row_sku"] is None else _SET if kind == "set" else _ADJUST
        raise always_lost(self._database.name, f"a change of {command.sku}")


def _refusal(command: StockCommand, kind: str, amount: int, seen: asyncpg.Record) -> Problem | None:
    """Why the row as it stands forbids the command; None where nothing does, and the race was lost."""
    version = seen["row_version"]
    if version is None and kind == "adjust":  # 404 whatever is demanded: RFC 9110 13.2.1
        return sku_not_found(command.sku)
    if not command.precondition.holds(version):
        return version_conflict(f"The stock of {command.sku}", command.precondition, version)
    if version is None:
        return None
    wanted = amount if kind == "set" else seen["row_on_hand"] + amount
    if wanted < seen["row_reserved"]:
        detail = f"{wanted} of {command.sku} would be fewer than the {seen['row_reserved']} that orders hold."
        return Problem(slug="stock_reserved", detail=detail, status=409, current_version=version)
    if wanted > MAX_STOCK:
        detail = f"{wanted} of {command.sku} would be more than {MAX_STOCK}."
        return Problem(slug="stock_limit", detail=detail, status=409, current_version=version)
    return None


def sku_not_found(sku: str) -> Problem:
    """There is no such SKU."""
    return Problem(slug="sku_not_found", detail=f"There is no stock of {sku}.", status=404)


def _change_of(row: asyncpg.Record, *, replayed: bool) -> StockChange:
    stock = Stock(row["sku"], row["on_hand"], row["reserved"], row["version"], row["recorded_at"])
    return StockChange(stock, row["delta"], replayed)
