"""Do stream, databases, ledger, stock and tracking tell the same story? A pure function of the evidence.

Each line of the check compares records that different processes wrote, and fails when they differ in anything.
Read the evidence of a stack at rest.
"""

from collections.abc import Callable, Iterable
from typing import Final

from operations.demo import check_books, check_stream
from operations.demo.comparison import Comparison
from operations.demo.evidence import Evidence

#: In the order in which a reader wants them.
COMPARISONS: Final[tuple[Callable[[Evidence], Comparison], ...]] = (
    check_stream.published,
    check_stream.stream_is_events,
    check_stream.in_order,
    check_stream.fold_is_rows,
    check_stream.tracking_is_rows,
    check_books.parts,
    check_books.handovers,
    check_books.amounts,
    check_books.captured,
    check_books.held_money,
    check_books.payments_are_ledger,
    check_books.stock_is_movements,
    check_books.reserved,
)


def check(evidence: Evidence) -> list[Comparison]:
    """What each of ``COMPARISONS`` came to, in their order."""
    return [compare(evidence) for compare in COMPARISONS]


def agrees(lines: Iterable[Comparison]) -> bool:
    """Whether none of them found a difference."""
    return all(line.ok for line in lines)
