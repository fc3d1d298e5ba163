"""What came from elsewhere is shown on a terminal and never obeyed by it."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from orderflow.telemetry.logs import configure_logging
from orderflow.telemetry.printable import escaped_json, is_printable, printable

INVISIBLE = "\xad\u180e\u200b\u2060\u2064\u206f\ufff9\ufffb\U0001d173\U0001d17a"
#: ESC, BEL, CR, DEL, CSI and OSC as one character, overrides and isolates of direction, a tag, a lone surrogate.
OBEYED = "\x1b\x07\r\x7f\x9b\x9d\u202e\u2066\u200f\U000e0041\udc9b"


@pytest.mark.parametrize("obeyed", OBEYED + INVISIBLE)
def test_what_a_terminal_obeys_is_replaced_by_one_character(obeyed: str) -> None:
    seen = printable(f"a{obeyed}[31mb")
    assert (obeyed in seen, len(seen), is_printable(seen)) == (False, 7, True)


@given(st.text())
def test_nothing_but_what_can_be_seen_comes_through(text: str) -> None:
    seen = printable(text)
    assert len(seen) == len(text)
    assert all(character in "\t\n" or not 0 <= ord(character) < 0x20 for character in seen)
    assert not any(0x7F <= ord(character) <= 0x9F for character in seen)
    seen.encode()  # no surrogate is left


def test_what_people_write_stays() -> None:
    text = "Grüße, 東京 → שלום, ﷼ 😀 👩\u200d💻 می\u200cشود\tand\nso on\u00a0…"
    assert printable(text) == text


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_stays_the_same_document(document: object) -> None:
    written = escaped_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(written) == document
    assert is_printable(written)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a terminal's process logs to; the log's set-up is as before afterwards."""

    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    tty, before, root = Tty(), structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers, root.level
    monkeypatch.setattr(sys, "stderr", tty)
    configure_logging("info", "console")
    yield tty
    structlog.configure(**before)
    root.handlers = handlers
    root.setLevel(level)


def test_a_log_line_on_a_terminal_holds_nothing_raw(terminal: io.StringIO) -> None:
    log = logging.getLogger("library")
    log.warning("of a record: \x9b31mEVIL \x1b]0;title\x07")
    try:
        raise ValueError("in an error: \x9b32m")
    except ValueError:
        structlog.get_logger("ours").exception("failed", customer="c\x9b33m", names=["\x9b34m"])
    said = terminal.getvalue()
    assert all(word in said for word in ("31mEVIL", "32m", "33m"))
    assert not any(raw in said for raw in ("\x9b", "\x1b]0", "\x07"))
