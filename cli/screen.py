"""The one way of human output to a terminal, a file or a pipe: nothing that came from elsewhere is obeyed there.

What is printed may hold text of customers, records, servers and files. On its way out a control character becomes a
visible one (``printable``), a bracket stays a bracket (no markup, no ``:emoji:``), a link with such a character is
left out, and what the output's encoding lacks is replaced: never a traceback. JSON goes out by ``json_text``.
"""

import codecs
import json
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from orderflow.telemetry.printable import escaped_json, is_printable, printable

#: Of the same width, where the encoding has no better.
_PLAINER: Final = str.maketrans("→…━─│┃✓✗×“”‘’–", ">.=-||+xx\"\"''-")  # noqa: RUF001


class Screen(Console):
    """Rich's console, through which nothing raw comes, whatever is printed by whichever page."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string, as every text of ours: before it is measured and wrapped."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is rendered, also inside a table."""
        if isinstance(renderable, Text) and not is_printable(renderable.plain):
            renderable = renderable.copy()
            renderable.plain = printable(renderable.plain)
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


def never_fail_to_write() -> None:
    """What the output's encoding lacks is replaced, whoever writes: also the help and usage errors of typer."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
