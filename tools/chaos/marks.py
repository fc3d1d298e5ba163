"""The marks by which foreign records are known, whatever they claim to be."""

import re
from typing import Final, Literal

#: An event of another source, which consumers see; or junk, which is for their dead letters.
Kind = Literal["event", "junk"]

_MARK: Final = re.compile(rb"chaos-foreign-\d+-\d+-(?:event|junk)")


def mark_of(fault: int, number: int, kind: Kind) -> str:
    """The mark of a fault's record with this number."""
    return f"chaos-foreign-{fault}-{number}-{kind}"


def mark_in(*parts: bytes | None) -> str | None:
    """The mark in a record, wherever it stands (a batch that nobody can read has it in its bytes); None: it is ours."""
    found = next((match for part in parts if part and (match := _MARK.search(part))), None)
    return found[0].decode() if found else None


def is_event(mark: str) -> bool:
    """Whether the record is an event of another source."""
    return mark.endswith("-event")
