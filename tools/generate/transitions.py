"""The transitions that the migrations give each database, compared with the LIFECYCLEs of the code.

A migration that was released is never edited, so this one generates nothing: it says which migration is missing.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from orderflow.domain import inventory, orders, payments
from orderflow.domain.lifecycle import Lifecycle

LIFECYCLES: Final[Mapping[str, Lifecycle]] = {
    "orders": orders.LIFECYCLE,
    "payments": payments.LIFECYCLE,
    "inventory": inventory.LIFECYCLE,
}
_CHANGE: Final = re.compile(
    r"INSERT INTO transitions \(from_status, to_status\) VALUES(?P<added>[^;]*);"
    r"|DELETE FROM transitions WHERE \(from_status, to_status\) IN(?P<taken>[^;]*);"
)
_PAIR: Final = re.compile(r"\('([A-Z]*)', '([A-Z]+)'\)")


def migrated(folder: Path) -> frozenset[tuple[str | None, str]]:
    """The transitions that the migrations of a service leave in its database; None: the row is made."""
    there: set[tuple[str, str]] = set()
    for file in sorted(folder.glob("*.sql")):
        up = file.read_text(encoding="utf-8").partition("-- migrate:down")[0]
        for change in _CHANGE.finditer(up):
            there |= set(_PAIR.findall(change["added"] or ""))
            there -= set(_PAIR.findall(change["taken"] or ""))
    return frozenset((from_ or None, to) for from_, to in there)


def missing(migrations: Path, lifecycles: Mapping[str, Lifecycle] = LIFECYCLES) -> list[str]:
    """What a migration has to change, a sentence a service; nothing where code and migrations agree."""
    return list(_missing(migrations, lifecycles))


def _missing(migrations: Path, lifecycles: Mapping[str, Lifecycle]) -> Iterator[str]:
    for service, lifecycle in lifecycles.items():
        there = migrated(migrations / service)
        new, old = lifecycle.moves - there, there - lifecycle.moves
        sql = []
        if new:
            sql.append(f"INSERT INTO transitions (from_status, to_status) VALUES {_pairs(new)};")
        if old:
            sql.append(f"DELETE FROM transitions WHERE (from_status, to_status) IN ({_pairs(old)});")
        if sql:
            yield (
                f"the LIFECYCLE of {service} is not what its database allows: "
                f"add a migration in migrations/{service} with {' '.join(sql)}"
            )


def _pairs(moves: frozenset[tuple[str | None, str]]) -> str:
    return ", ".join(
        f"('{from_ or ''}', '{to}')" for from_, to in sorted(moves, key=lambda move: (move[0] or "", move[1]))
    )
