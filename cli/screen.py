"""The one way of human output to a terminal, a file or a pipe: nothing that came from elsewhere is obeyed there.

What is printed may hold text of customers, records, servers and files. On its way out a control character becomes a
visible one (``printable``), a bracket stays a bracket (no markup, no ``:emoji:``), a link with such a character is
left out, and what the output's encoding lacks is replaced: never a traceback. JSON goes out by ``json_text``.
"""

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from orderflow.telemetry.printable import escaped_json, is_printable, printable

#: Of the same width, where the encoding has no better.
_PLAINER: Final = str.maketrans("→…━─│┃✓✗×“”‘’–", ">.=-||+xx\"\"''-")  # noqa: RUF001
#: Up to 9,999: lines are padded to as many.
_COLUMNS: Final = re.compile("[0-9]{1,4}")
_FEWEST_COLUMNS: Final = 20


class Screen(Console):
    """Rich's console, through which nothing raw comes, whatever is printed by whichever page."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        self._breaks = False

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """As rich does. Prose that goes on one line elsewhere (``soft_wrap``) breaks between words where lines have an
        end, unless ``no_wrap`` is said: a terminal would break it inside them. A word longer than a line stays whole,
        to be copied."""
        has_end = self.is_terminal or "COLUMNS" in os.environ
        self._breaks = bool(soft_wrap) and has_end and not options.get("no_wrap")
        try:
            super().print(*objects, soft_wrap=soft_wrap, **options)
        finally:
            self._breaks = False

    def render_str(self, text: str, **options: Any) -> Text:
        """A string, as every text of ours: before it is measured and wrapped."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is rendered, also inside a table."""
        if isinstance(renderable, Text) and not is_printable(renderable.plain):
            renderable = renderable.copy()
            renderable.plain = printable(renderable.plain)
        if isinstance(renderable, Text) and self._breaks:
            renderable = _broken(renderable, (options or self.options).max_width)
        for segment in super().render(renderable, options):
            yield segment if segment.control else self._without_raw(segment)

    def _without_raw(self, segment: Segment) -> Segment:
        text = self._encodable(printable(segment.text))
        return Segment(text, _without_raw_link(segment.style))

    def _encodable(self, text: str) -> str:
        if text.isascii() or is_unicode(self.encoding):
            return text
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.translate(_PLAINER).encode(self.encoding, "replace").decode(self.encoding)
        return text


def _broken(text: Text, width: int) -> Text:
    """``text`` in lines of at most ``width`` cells, broken between words only."""
    lines = [piece for line in text.split("\n", allow_blank=True) for piece in line.divide(_ends(line.plain, width))]
    for line in lines[:-1]:
        line.rstrip()
    broken = Text("\n", end=text.end).join(lines)
    broken.end = text.end
    return broken


def _ends(line: str, width: int) -> list[int]:
    """Where a line of more than ``width`` cells is broken."""
    ends, column = [], 0
    for word in re.finditer(r"\s*\S+", line):
        if column and column + cell_len(word[0]) > width:
            start = word.start() + len(word[0]) - len(word[0].lstrip())
            ends.append(start)
            column = cell_len(line[start : word.end()])
        else:
            column += cell_len(word[0])
    return ends


def _without_raw_link(style: Style | None) -> Style | None:
    """Where a link leads is an escape sequence, too."""
    if style is not None and style.link is not None and not (style.link.isascii() and style.link.isprintable()):
        return style.update_link(None)
    return style


def json_text(data: object, indent: int | None = None) -> str:
    """``data`` as JSON that any output can write: with what a terminal would obey, or cannot show, as ``\\uXXXX``."""
    readable = is_unicode(getattr(sys.stdout, "encoding", None) or "utf-8")
    return escaped_json(json.dumps(data, indent=indent, ensure_ascii=not readable))


def is_unicode(encoding: str) -> bool:
    """Whether every character can be written in ``encoding``."""
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def forget_senseless_columns() -> None:
    """A ``COLUMNS`` in which nothing can be read (some terminals say 0) counts as not set, for rich and typer, too."""
    said = os.environ.get("COLUMNS")
    if said is not None and not (_COLUMNS.fullmatch(said) and int(said) >= _FEWEST_COLUMNS):
        del os.environ["COLUMNS"]


def never_fail_to_write() -> None:
    """What the output's encoding lacks is replaced, whoever writes: also the help and usage errors of typer."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
