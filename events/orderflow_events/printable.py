"""Text of others as people may see it: on a terminal, in a log, in a reason."""

import json
from typing import Any, Final

#: Long enough for what somebody wrote on purpose.
LONGEST: Final = 1_000


def printable(text: str, longest: int = LONGEST) -> str:
    """``text`` without anything that a terminal obeys, a line break, or what is no text.

    Control characters (C0, DEL, C1), separators, invisible and unassigned characters come as ``\\x9b`` or ``\\u202e``.
    A byte that was not UTF-8 (a surrogate of ``surrogateescape``) comes as that byte, ``\\xdf``. Cut after ``longest``.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else _escaped(one) for one in text[:longest])
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def printable_json(document: Any, *, indent: int | None = None) -> str:
    """``document`` as JSON in which everything that is not printable is escaped: the same values for who reads it."""
    lines = json.dumps(document, ensure_ascii=False, indent=indent).split("\n")
    return "\n".join(
        line if line.isprintable() else "".join(one if one.isprintable() else _json_escaped(one) for one in line)
        for line in lines
    )


def _json_escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
