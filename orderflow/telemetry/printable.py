"""Text from elsewhere, made fit for a terminal: what logs and the command line print goes through here.

A terminal obeys what it is shown: ESC and the C1 controls (U+009B is another way to write ``ESC [``) move the cursor,
colour, retitle or erase, and bidirectional overrides show a text in another order than it has. Each is shown as one
visible character, so that nothing moves in a table.
"""

import re
from typing import Final

#: In the place of a character for which Unicode has no picture.
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
#: C0 but for tab and line feed, DEL, C1; marks and overrides of direction; line and paragraph separators; surrogates,
#: which no encoding can write; what nobody sees: the soft hyphen, blanks of no width, the byte order mark, annotations,
#: marks of music, tags. The joiners (200C, 200D) stay: words and emoji have them.
_RAW: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """``text`` of the same length, in which a terminal finds nothing to obey; tabs and line feeds stay."""
    return _RAW.sub(_picture, text)


def is_printable(text: str) -> bool:
    """Whether ``printable`` would leave it as it is."""
    return _RAW.search(text) is None


def escaped_json(document: str) -> str:
    """A JSON document with the same characters as ``\\uXXXX``, which is the same document for a program."""
    return _RAW.sub(_as_json, document)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)  # ␛ for ESC
    return "␡" if code == 0x7F else REPLACEMENT


def _as_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
