"""Reading the text files that people write: a bounded length, UTF-8, and an error that names the file and the rule."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Of a file that is read as a whole.
MOST_BYTES: Final = 1024 * 1024
#: Of one line of a file that may be long.
MOST_CHARACTERS_A_LINE: Final = 64 * 1024
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class UnreadableFile(Exception):
    """A file is not the text that it should be; the message names it, the line where there is one, and the rule."""


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The whole text, without a byte order mark. Raises UnreadableFile."""
    try:
        with path.open("rb") as file:
            read = file.read(most_bytes + 1)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from None
    if len(read) > most_bytes:
        raise UnreadableFile(f"{path} is longer than {most_bytes} bytes")
    return text_of(path, read)


def text_of(path: Path, read: bytes) -> str:
    """What was ``read`` of ``path``, as text without a byte order mark. Raises UnreadableFile."""
    if read.startswith(_UTF_16):
        raise UnreadableFile(f"{path} is UTF-16: save it as UTF-8")
    try:
        text = read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"{path} line {line}: it is not UTF-8 text: save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableFile(f"{path} line {line}: it has a NUL byte, so it is no text")
    return text


def lines_of(path: Path) -> Iterator[str]:
    """The lines with their ends, one at a time, however long the file is. Raises UnreadableFile."""
    try:
        # What is not UTF-8 comes as surrogates: so the line is known, and memory is bounded.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            number = 0
            while line := file.readline(MOST_CHARACTERS_A_LINE + 1):
                number += 1
                if len(line) > MOST_CHARACTERS_A_LINE:
                    why = f"it is longer than {MOST_CHARACTERS_A_LINE} characters"
                    raise UnreadableFile(f"{path} line {number}: {why}")
                if any("\ud800" <= character <= "\udfff" for character in line):
                    raise UnreadableFile(f"{path} line {number}: it is not UTF-8 text: save the file as UTF-8")
                if "\0" in line:
                    raise UnreadableFile(f"{path} line {number}: it has a NUL byte, so it is no text")
                yield line
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from None
