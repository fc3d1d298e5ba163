"""Everything that people read goes through one screen: nothing raw, no markup of others, in any encoding."""

import io
import json
import sys

import pytest
from rich.console import Group
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from cli.pages.orders import order_list, order_page
from cli.screen import Screen, json_text
from orderflow.telemetry.printable import is_printable

RAW = "c\x9b31m\x1b[32m\x1b]8;;http://evil\x1b\\\u202e[red]x[/] :warning: \\[b]"
SHOWN = "c\ufffd31m␛[32m␛]8;;http://evil␛\\\ufffd[red]x[/] :warning: \\[b]"


def screen(encoding: str = "utf-8", *, terminal: bool = False) -> tuple[Screen, io.BytesIO]:
    """A screen, and the bytes that come out of it."""
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, errors="strict", newline="\n")
    colours = "truecolor" if terminal else None
    return Screen(file=file, width=200, force_terminal=terminal, color_system=colours), written


def out(console: Screen, written: io.BytesIO, encoding: str = "utf-8") -> str:
    console.file.flush()
    return written.getvalue().decode(encoding)


def table(cell: object) -> Table:
    drawn = Table(Column(cell, no_wrap=True, min_width=80), title=str(cell))  # type: ignore[arg-type]
    drawn.add_row(cell)  # type: ignore[arg-type]
    return drawn


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "printed",
    [RAW, Text(RAW), Text.assemble("a ", (RAW, "red")), table(RAW), table(Text(RAW)), Group(RAW), Panel(Text(RAW))],
    ids=["string", "text", "styled", "table", "table of texts", "group", "panel"],
)
def test_text_of_others_is_shown_as_it_is_and_not_obeyed(printed: object, terminal: bool) -> None:
    console, written = screen(terminal=terminal)
    console.print(printed)
    said = out(console, written)
    assert SHOWN in said
    assert not any(raw in said for raw in ("\x9b", "\x1b]8;;http://evil", "\x07", "\u202e", "\x1b[32m"))


def test_nothing_is_cut_from_a_cell_with_control_characters() -> None:
    console, written = screen()
    console.width = 20
    drawn = Table(Column("x", overflow="fold"))
    drawn.add_row(Text("\x9b" * 30 + "end"))
    console.print(drawn)
    said = out(console, written)
    assert (said.count("\ufffd"), "".join(said.split()).replace("│", "").count("end")) == (30, 1)


@pytest.mark.parametrize("link", ["http://h/\x1b\\\x9b31m", "http://h/\x07", "http://h/é\u202e"])
def test_a_link_with_something_raw_is_no_link(link: str) -> None:
    console, written = screen(terminal=True)
    console.print(Text("here", style=f"link {link}"))
    console.print(Text("there", style="link http://localhost:8080/"))
    said = out(console, written)
    assert ("here" in said, said.count("\x1b]8;"), "\x9b" in said, "\x07" in said) == (True, 2, False, False)


ORDER = {
    "id": "0190\x9b31m",
    "status": "DRAFT\x1b[2J",
    "reason": "[red]because",
    "version": 1,
    "customer_id": "[red]Müller → 東京\x9b31m",
    "reference": "[/]\x1b",
    "currency": "USD",
    "total": 198,
    "payment": {"status": "AUTHORIZED", "reason": None},
    "inventory": None,
    "created_at": "2026-11-29T08:00:00+00:00",
    "updated_at": "2026-11-29T08:00:00+00:00",
    "allowed_actions": ["approve"],
    "links": {"temporal_ui": "http://ui/\x9b", "self": "/orders/0190"},
    "lines": [{"sku": "bread", "quantity": 2, "unit_price": 99, "total": 198}],
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252", "cp437", "shift-jis"])
def test_a_page_of_an_order_can_be_written_in_every_encoding(encoding: str) -> None:
    for page in (order_page(ORDER, "http://u:S3cr3t@h", None), order_list([ORDER])):
        console, written = screen(encoding)
        console.print(page)
        said = out(console, written, encoding)
        assert is_printable(said)
        assert ("[red]M" in said, "S3cr3t" in said) == (True, False)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_valid_in_every_encoding_and_holds_nothing_raw(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    document = {"customer": "c\x9b31m\x1b\x7f\u202eM\xfcller \u2192 \U000e0041 \udc9b"}
    text = json_text(document, indent=2)
    stdout.write(text)
    assert json.loads(text) == document
    assert is_printable(text)
    assert ("ü" in text) == (encoding == "utf-8")


def lines_at(width: int, text: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    written = io.StringIO()
    Screen(file=written, width=width).print(text, soft_wrap=True, **options)
    return written.getvalue().splitlines()


def test_prose_breaks_between_words_and_what_is_copied_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:8233/namespaces/default/workflows/order-0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11"
    prose = "Start the Postgres of orders, or see the network between; what was accepted goes on by itself, at "
    lines = lines_at(40, prose + url, monkeypatch)
    assert " ".join(line.strip() for line in lines).split() == (prose + url).split()
    assert [line for line in lines if len(line) > 40] == [url]
    assert lines_at(40, prose, monkeypatch, no_wrap=True) == [prose]
