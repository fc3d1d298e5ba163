"""What text may come in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from orderflow.domain.text import no_card_number, plain, plain_with_joiners


def rule(check: object, text: str) -> str | None:
    """The rule that ``text`` breaks."""
    try:
        check(text)  # type: ignore[operator]
    except PydanticCustomError as error:
        return error.type
    return None


@pytest.mark.parametrize(
    "text", ["customer-42", "Frau Müller", "李雷", "Ω≈ç√", "👍🏽", "a b", "'; DROP TABLE orders; --", "٤٢"]
)
def test_what_people_write_is_taken(text: str) -> None:
    assert plain(text) == plain_with_joiners(text) == text


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\n", "\x1b", "\x7f", "\x85", "\u00ad", "\u200b", "\u200e", "\u202e", "\u2066", "\ufeff", "\u2028"),
        *("\u2029", "\ue000", "\U000f0000", "\u0378", "\uffff", "\U000e0041", "\ud800"),
    ],
)
def test_what_cannot_be_seen_is_refused(character: str) -> None:
    for text in (f"a{character}b", character):
        assert rule(plain, text) == rule(plain_with_joiners, text) == "forbidden_character"


def test_joiners_stand_between_characters_of_notes_alone() -> None:
    family, persian = "👨\u200d👩\u200d👧", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    for text in (family, persian):
        assert rule(plain_with_joiners, text) is None
        assert rule(plain, text) == "forbidden_character"
    assert rule(plain_with_joiners, "\u200dx") == rule(plain_with_joiners, "x\u200c") == "outer_blanks"


@pytest.mark.parametrize("text", [" a", "a ", "\u00a0a", "a\u3000", " "])
def test_no_blanks_at_its_ends(text: str) -> None:
    assert rule(plain, text) == "outer_blanks"


def test_texts_that_look_alike_are_alike() -> None:
    assert rule(plain, "Mu\u0308ller") == "not_nfc"
    assert rule(plain, "\u212b") == "not_nfc"


@given(st.text(max_size=20))
def test_what_is_taken_is_normal_and_printable(text: str) -> None:
    if rule(plain, text) is None:
        assert text == unicodedata.normalize("NFC", text).strip()
        assert all(character.isprintable() or character.isspace() for character in text)


#: Of the schemes' own documentation of test numbers.
CARDS = ["4111111111111111", "4012888888881881", "4222222222222", "5555555555554444", "2223003122003222"]
CARDS += ["378282246310005", "6011111111111117", "30569309025904", "36227206271667", "3530111333300000"]
CARDS += ["6200000000000005", "6759649826438453", "2200000000000053", "5105105105105100"]


@pytest.mark.parametrize("number", CARDS)
def test_a_card_number_is_seen_however_it_is_written(number: str) -> None:
    groups = [number[i : i + 4] for i in range(0, len(number), 4)]
    ways = [number, " ".join(groups), "-".join(groups), ".".join(groups), "\u00a0".join(groups), f"tok_{number}"]
    ways += [
        f"card {number}, please",
        f"12 {' '.join(groups)} 345",
        number.translate({48 + n: 0x660 + n for n in range(10)}),
    ]
    for way in ways:
        assert rule(no_card_number, way) == "card_number", way


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # Luhn says no
        "9999999999999995",  # no issuer
        "1234567812345670",
        "411111111111116",  # 15 digits: no Visa
        "JD014600003140000000",
        "order 20261130 104455 0001",
        "41111111111111110000000",  # longer than any
        "tok_ok",
        "",
        "4" * 11,
    ],
)
def test_other_numbers_are_taken(text: str) -> None:
    assert rule(no_card_number, text) is None


@pytest.mark.parametrize("text", ["secret\x00", " secret", "secre\u0301t", "secret 4111111111111111"])
def test_an_error_does_not_repeat_the_text(text: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        no_card_number(plain(text))
    assert "secre" not in str(refused.value)


def test_few_numbers_are_taken_for_cards_and_long_text_costs_little() -> None:
    refused = sum(rule(no_card_number, f"{number:016d}") is not None for number in range(10**15, 10**16, 10**12 + 7))
    assert refused / 9000 < 0.05
    assert rule(no_card_number, "1 " * 250) is None
