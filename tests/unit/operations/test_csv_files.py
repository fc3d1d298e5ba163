"""Money is exact, and a file that is wrong says where."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.bulk.csv_files import BadFile, read_baskets, read_stock
from orderflow.domain.money import digits, minor_units, money
from support.paths import SAMPLES

HEADER = "basket_id,household_id,placed_at,product_id,quantity,unit_price\n"
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])
AMOUNTS = st.integers(min_value=0, max_value=10**12)


@given(AMOUNTS, CURRENCIES)
def test_every_amount_comes_back_as_it_was_written(amount: int, currency: str) -> None:
    written = str(Decimal(amount).scaleb(-digits(currency)))
    assert minor_units(f"{Decimal(written):f}", currency) == amount
    assert minor_units(money(amount, currency).partition(" ")[0].replace(",", ""), currency) == amount


@given(AMOUNTS, CURRENCIES, st.integers(min_value=1, max_value=9))
def test_what_is_finer_than_the_smallest_coin_is_refused(amount: int, currency: str, rest: int) -> None:
    finer = Decimal(amount * 10 + rest).scaleb(-digits(currency) - 1)
    with pytest.raises(ValueError, match="finer"):
        minor_units(f"{finer:f}", currency)


@pytest.mark.parametrize(
    ("text", "amount"), [("4.19", 419), ("0.29", 29), ("1.1", 110), ("70.10", 7010), ("3", 300), ("0.290", 29)]
)
def test_prices_that_floats_get_wrong_are_right(text: str, amount: int) -> None:
    assert minor_units(text, "USD") == amount


@pytest.mark.parametrize("text", ["", "-1", "1e2", "NaN", "Infinity", "1_0", "1,00", "4.", ".5", " 1", "\u0661", "$1"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        minor_units(text, "USD")


def test_money_is_written_as_people_read_it() -> None:
    assert [money(419, "USD"), money(123456789, "USD"), money(1500, "JPY"), money(5, "KWD"), money(-5, "USD")] == [
        *("4.19 USD", "1,234,567.89 USD", "1,500 JPY", "0.005 KWD", "-0.05 USD"),
    ]


def test_the_samples_are_whole_baskets_and_exactly_their_products() -> None:
    baskets = read_baskets(SAMPLES / "baskets.csv", "USD")
    assert len(baskets) == 260
    wanted = {sku for basket in baskets for sku, _, _ in basket.lines}
    assert read_stock(SAMPLES / "products.csv", 1).keys() == wanted
    # The sum of the column as text, computed in another way.
    rows = (line.split(",") for line in (SAMPLES / "baskets.csv").read_text().splitlines()[1:])
    assert sum(basket.total for basket in baskets) == sum(int(row[4]) * Decimal(row[5]) * 100 for row in rows)


def test_the_lines_of_a_basket_need_not_stand_together(tmp_path: Path) -> None:
    file = tmp_path / "baskets.csv"
    file.write_text(f"{HEADER}b1,h1,t,bread,2,1.50\nb2,h2,t,milk,1,0.99\nb1,h1,t,milk,1,0.99\n")
    first, second = read_baskets(file, "USD")
    assert (first.id, first.lines, second.lines) == ("b1", [("bread", 2, 150), ("milk", 1, 99)], [("milk", 1, 99)])
    assert first.body("USD", "tok_ok") == {
        "customer_id": "household-h1",
        "reference": "basket-b1",
        "currency": "USD",
        "payment_token": "tok_ok",
        "lines": [
            {"sku": "bread", "quantity": 2, "unit_price": 150},
            {"sku": "milk", "quantity": 1, "unit_price": 99},
        ],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not name the columns"),
        ("basket_id,product_id\n1,2\n", "does not name the columns household_id, quantity, unit_price"),
        (f"{HEADER}b1,h1,t,bread,2,1.50\nb1,h1,t,milk,1.5,1\n", "line 3: quantity '1.5' is not a whole number"),
        (f"{HEADER}b1,h1,t,bread,0,1.50\n", "line 2: quantity '0'"),
        (f"{HEADER}b1,h1,t,bread,1,1.505\n", "line 2: unit_price: 1.505 is finer"),
        (f"{HEADER}b1,h1,t,bread,1,free\n", "line 2: unit_price: 'free' is not an amount"),
        (f"{HEADER}b1,h1,t,bread,1,0.00\n", "line 2: unit_price 0.00 is not more than nothing"),
        (f"{HEADER}b1,h1,t,bread,1\n", "line 2: it has another number of fields"),
        (f"{HEADER}b1,h1,t,bread,1,1,1\n", "line 2: it has another number of fields"),
        (f"{HEADER}b1,h1,t,,1,1\n", "line 2: product_id is empty"),
        (f"{HEADER}b 1,h1,t,bread,1,1\n", "line 2: basket_id 'b 1' is not"),
        (f"{HEADER}b1,h1,t,bread,1,1\nb1,h2,t,milk,1,1\n", "line 3: basket b1 belongs to household h1"),
        (f'{HEADER}b1,h1,t,"bread,1,1\n', "line 2: it is not CSV"),
        ("b1,h1,t,bread,1,1.50\n", "the first line does not name the columns basket_id"),
        (
            f"{HEADER.strip()},unit_price\nb1,h1,t,bread,1,1,1\n",
            "line 1: the column unit_price is there more than once",
        ),
        (f"{HEADER.strip()}, unit_price\nb1,h1,t,bread,1,1,1\n", "line 1: the column unit_price is there more than"),
        (f"{HEADER.strip()},Quantity\nb1,h1,t,bread,1,1,1\n", "the column quantity, Quantity is there more than once"),
        (f"{HEADER.strip()},note,note\nb1,h1,t,bread,1,1,x,y\n", "line 1: the column note is there more than once"),
        (f"{HEADER}b1,h1,t,bread,1,1\nb2,h1,t,br\x00ead,1,1\n", "line 3: it has a NUL byte"),
        (f"{HEADER}b1,h1,t,{'x' * 70_000},1,1\n", "line 2: it is longer than 65536 characters"),
        ("x" * 70_000, "line 1: it is longer than 65536 characters"),
        (f'{HEADER}b1,h1,t,"' + "bread,1,1\n" * 20_000, "it is not CSV: field larger than field limit"),
    ],
)
def test_a_wrong_basket_file_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "baskets.csv"
    file.write_text(text)
    with pytest.raises(BadFile) as raised:
        read_baskets(file, "USD")
    assert str(raised.value).startswith(str(file))
    assert why in str(raised.value)


def test_stock_is_read_from_both_kinds_of_files(tmp_path: Path) -> None:
    file = tmp_path / "stock.csv"
    file.write_text("sku,on_hand\nbread,10\nmilk,0\n")
    assert read_stock(file, None) == {"bread": 10, "milk": 0}
    assert read_stock(file, 5) == {"bread": 5, "milk": 5}
    file.write_text("product_id,name\nbread,Bread\n")
    assert read_stock(file, 7) == {"bread": 7}
    with pytest.raises(BadFile, match="say how many with --on-hand"):
        read_stock(file, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sku,on_hand\nbread,1\nbread,2\n", "line 3: sku 'bread' stands twice"),
        ("sku,on_hand\nbread,-1\n", "line 2: on_hand '-1'"),
        ("sku,on_hand,on_hand\nbread,1,2\n", "line 1: the column on_hand is there more than once"),
        ("sku,product_id,on_hand\nbread,milk,2\n", "line 2: there are both a column sku and product_id"),
        ("name,on_hand\nbread,1\n", "neither a column sku nor product_id"),
    ],
)
def test_a_wrong_stock_file_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "stock.csv"
    file.write_text(text)
    with pytest.raises(BadFile, match=why):
        read_stock(file, None)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: No such file"):
        read_baskets(tmp_path / "none.csv", "USD")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="not UTF-8"):
        read_baskets(binary, "USD")


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 3), ("utf-16", 1), ("utf-16-le", 1), ("cp1252", 3)])
def test_a_file_in_another_encoding_names_the_line(tmp_path: Path, encoding: str, line: int) -> None:
    file = tmp_path / "baskets.csv"
    file.write_text(f"{HEADER}b1,h1,t,bread,1,1\nb2,h1,t,br\u00f6tchen,1,1\n", encoding=encoding)
    with pytest.raises(BadFile, match=rf"baskets\.csv line {line}: it (is not UTF-8 text|has a NUL byte)"):
        read_baskets(file, "USD")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_of_a_spreadsheet_is_read(tmp_path: Path, end: str) -> None:
    """With a byte order mark, and the ends of lines of any system."""
    file = tmp_path / "baskets.csv"
    text = f"{HEADER}b1,h1,t,br\u00f6tchen,1,1\nb2,h1,t,milk,1,1\n".replace("\n", end)
    file.write_bytes(text.encode("utf-8-sig"))
    assert [basket.lines for basket in read_baskets(file, "USD")] == [[("br\u00f6tchen", 1, 100)], [("milk", 1, 100)]]


def test_a_wrong_line_is_quoted_in_part(tmp_path: Path) -> None:
    file = tmp_path / "baskets.csv"
    file.write_text(f"{HEADER}b1,h1,t,bread,{'9' * 60_000}x,1\n")
    with pytest.raises(BadFile, match="line 2: quantity '999") as raised:
        read_baskets(file, "USD")
    assert len(str(raised.value)) < 400 + len(str(file))
