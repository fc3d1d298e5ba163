"""Text that comes in: what people can see and compare, and no card number.

Two texts that look alike must be alike, and no text may hide, reorder or end what stands beside it on a screen. So: in
Unicode's Normalization Form C, without control, format, private-use, unassigned and separating characters, and without
blanks at its ends. In notes two format characters are let through that some scripts and emoji need: U+200C and U+200D.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final
from unicodedata import category, decimal, is_normalized

from pydantic import AfterValidator, StringConstraints, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

#: Control, format, surrogate, private use, unassigned; line and paragraph separators.
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"
#: What of the rule a regular expression can say in every language.
PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
RULE: Final = (
    "In Unicode's form NFC; no control, format, private-use or unassigned characters, no line separators, no blanks at "
    "its ends."
)


def plain(text: str) -> str:
    """``text``. Raises PydanticCustomError where it breaks the rule; the message never repeats it."""
    return _checked(text, "")


def plain_with_joiners(text: str) -> str:
    """The same for prose, where U+200C and U+200D are let through between other characters."""
    return _checked(text, _JOINERS)


def _checked(text: str, let_through: str) -> str:
    for character in text:
        if category(character) in _REFUSED and character not in let_through:
            raise PydanticCustomError(
                "forbidden_character",
                "Must not contain U+{code}, a character that cannot be seen",
                {"code": f"{ord(character):04X}"},
            )
    if text != text.strip() or text.strip(_JOINERS) != text:
        raise PydanticCustomError("outer_blanks", "Must not begin or end with blanks")
    if not is_normalized("NFC", text):
        raise PydanticCustomError("not_nfc", "Must be in Unicode's Normalization Form C")
    return text


def no_card_number(text: str) -> str:
    """``text``. Raises PydanticCustomError where a number in it may be that of a payment card."""
    if any(_is_card_number(digits) for digits in _numbers(text)):
        raise PydanticCustomError("card_number", "Must not contain the number of a payment card")
    return text


#: Digits, also in groups with one character between two of them.
_RUN: Final = re.compile(r"\d(?:[ \u00a0\u2009\u202f._/\u2010-\u2015-]?\d){11,}")
_GROUP: Final = re.compile(r"\d+")
_LENGTHS: Final = range(12, 20)


def _numbers(text: str) -> Iterator[str]:
    """Every number of 12-19 digits that the groups of a run make together. Digits of any script count."""
    for run in _RUN.finditer(text):
        groups = ["".join(str(decimal(digit)) for digit in group) for group in _GROUP.findall(run[0])]
        for first in range(len(groups)):
            number = ""
            for group in groups[first:]:
                number += group
                if len(number) > _LENGTHS[-1]:
                    break
                if len(number) in _LENGTHS:
                    yield number


#: What the numbers of issuers begin with, and how long they are (ISO/IEC 7812, the schemes' own tables).
_ISSUERS: Final[tuple[tuple[re.Pattern[str], frozenset[int]], ...]] = tuple(
    (re.compile(prefix), frozenset(lengths))
    for prefix, lengths in (
        (r"4", (13, 16, 19)),  # Visa
        (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),  # Mastercard
        (r"3[47]", (15,)),  # American Express
        (r"6011|64[4-9]|65", range(16, 20)),  # Discover
        (r"36", range(14, 20)),  # Diners Club
        (r"30[0-5]|3095|3[89]", (14, *range(16, 20))),  # Diners Club
        (r"35(?:2[89]|[3-8])", range(16, 20)),  # JCB
        (r"62|81", range(16, 20)),  # UnionPay
        (r"5018|5020|5038|5893|6304|6759|676[1-3]", range(12, 20)),  # Maestro
        (r"60|82|508", (16,)),  # RuPay
        (r"220[0-4]", range(16, 20)),  # Mir
    )
)


def _is_card_number(digits: str) -> bool:
    """Whether an issuer may have given it: Luhn's sum alone is right for one long number in ten."""
    return _luhn(digits) and any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)


def _luhn(digits: str) -> bool:
    values = [int(digit) for digit in reversed(digits)]
    doubled = (sum(divmod(2 * value, 10)) for value in values[1::2])
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


#: What comes in anew. What stands in a row from before is read as it is.
NewText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    AfterValidator(plain),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100, "pattern": PATTERN, "description": RULE}),
]
#: What names somebody or something: a customer, a reference, a principal.
NewName = Annotated[NewText, AfterValidator(no_card_number)]
_NEW_NAME: Final = TypeAdapter[str](NewName)


def why_no_name(text: str) -> str | None:
    """The rule that ``text`` breaks as a ``NewName``, without the text; None: it breaks none."""
    try:
        _NEW_NAME.validate_python(text)
    except ValidationError as error:
        return error.errors(include_url=False, include_input=False)[0]["msg"]
    return None
