"""Reading the CSV files that the commands take: which line is wrong, and why."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from operations.words import short
from orderflow.domain.money import minor_units
from orderflow.files import UnreadableFile, lines_of

MAX_QUANTITY_DIGITS: Final = 12
#: Characters of what is said of a line, which quotes it.
MOST_SAID: Final = 300
_KEY: Final = re.compile(r"[A-Za-z0-9._~-]{1,190}")


class BadFile(Exception):
    """A file that cannot be read as what it should be; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Basket:
    """A household's basket. ``lines``: SKU, quantity, unit price in minor units."""

    id: str
    household_id: str
    lines: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Minor units."""
        return sum(quantity * price for _, quantity, price in self.lines)

    @property
    def key(self) -> str:
        """Its Idempotency-Key: a basket becomes one order, however often it is sent."""
        return f"basket-{self.id}"

    def body(self, currency: str, payment_token: str) -> dict[str, Any]:
        """The body of POST /orders."""
        return {
            "customer_id": f"household-{self.household_id}",
            "reference": f"basket-{self.id}",
            "currency": currency,
            "payment_token": payment_token,
            "lines": [{"sku": sku, "quantity": quantity, "unit_price": price} for sku, quantity, price in self.lines],
        }


def read_baskets(file: Path, currency: str) -> list[Basket]:
    """The baskets of ``file``: a line each product, with basket_id, household_id, product_id, quantity, unit_price.

    Prices are in the currency's whole unit (4.19). Raises BadFile.
    """
    baskets: dict[str, Basket] = {}
    for line in _lines(file, ("basket_id", "household_id", "product_id", "quantity", "unit_price")):
        basket_id = line["basket_id"]
        if not _KEY.fullmatch(basket_id):
            line.wrong(f"basket_id {basket_id!r} is not 1-190 of A-Z a-z 0-9 . _ ~ -")
        basket = baskets.setdefault(basket_id, Basket(basket_id, line["household_id"]))
        if basket.household_id != line["household_id"]:
            line.wrong(f"basket {basket_id} belongs to household {basket.household_id} above")
        quantity = line.number("quantity", least=1)
        try:
            price = minor_units(line["unit_price"], currency)
        except ValueError as error:
            line.wrong(f"unit_price: {error}")
        if price < 1:
            line.wrong(f"unit_price {line['unit_price']} is not more than nothing")
        basket.lines.append((line["product_id"], quantity, price))
    return list(baskets.values())


def read_stock(file: Path, on_hand: int | None) -> dict[str, int]:
    """How many of each SKU: columns sku and on_hand, or a product list (product_id) with ``on_hand`` for every one.

    Raises BadFile, also for a SKU that stands twice.
    """
    stock: dict[str, int] = {}
    for line in _lines(file, ()):
        name = "sku" if "sku" in line.values else "product_id"
        if "sku" in line.values and "product_id" in line.values:
            line.wrong("there are both a column sku and product_id: which one counts?")
        if name not in line.values:
            line.wrong("there is neither a column sku nor product_id")
        if on_hand is None and "on_hand" not in line.values:
            line.wrong("there is no column on_hand: say how many with --on-hand")
        sku = line[name]
        if sku in stock:
            line.wrong(f"{name} {sku!r} stands twice")
        stock[sku] = line.number("on_hand", least=0) if on_hand is None else on_hand
    return stock


@dataclass(frozen=True, slots=True)
class _Line:
    file: Path
    number_in_file: int
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        value = self.values[name].strip()
        return value or self.wrong(f"{name} is empty")

    def number(self, name: str, *, least: int) -> int:
        text = self[name]
        if not (text.isascii() and text.isdigit()) or len(text) > MAX_QUANTITY_DIGITS or int(text) < least:
            self.wrong(f"{name} {text!r} is not a whole number of at least {least}")
        return int(text)

    def wrong(self, why: str) -> NoReturn:
        raise BadFile(f"{self.file} line {self.number_in_file}: {short(why, MOST_SAID)}")


def _lines(file: Path, required: Iterable[str]) -> Iterator[_Line]:
    rows = csv.DictReader(lines_of(file), strict=True)
    try:
        rows.fieldnames = _columns(file, rows.fieldnames or (), required)
        for row in rows:
            if None in row or None in row.values():
                raise BadFile(f"{file} line {rows.line_num}: it has another number of fields than the first line")
            yield _Line(file, rows.line_num, row)
    except UnreadableFile as error:
        raise BadFile(str(error)) from None
    except csv.Error as error:
        raise BadFile(f"{file} line {rows.reader.line_num}: it is not CSV: {error}") from None


def _columns(file: Path, first_line: Iterable[str], required: Iterable[str]) -> list[str]:
    """The columns that the first line names. Raises BadFile where one is missing, or is there twice."""
    names = [name.strip() for name in first_line]
    missing = [name for name in required if name not in names]
    if missing or not any(names):
        raise BadFile(f"{file}: the first line does not name the columns {', '.join(missing) or 'sku, on_hand'}")
    counted = Counter(name.lower() for name in names if name)
    if twice := [name for name in dict.fromkeys(names) if counted[name.lower()] > 1]:
        raise BadFile(f"{file} line 1: the column {', '.join(twice)} is there more than once: which one counts?")
    return names
