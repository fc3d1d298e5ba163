"""The alert rules in a hurry: every duration divided by one factor, and nothing else changed.

Durations are what a rule waits (``for``), how far back it looks (windows and offsets), and the ages it compares with.
"""

import re
from copy import deepcopy
from typing import Any, Final

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
#: A window, an offset, and the number that an age is compared with.
_DURATION = re.compile(r"(?<=\[)(\d+)([smh])(?=\])|(?<=\boffset )(\d+)([smh])\b")
_AGE = re.compile(r"(_age_seconds(?:{[^}]*})?\)) > (\d+)$")


def hurried(rules: dict[str, Any], factor: int) -> dict[str, Any]:
    """A copy of ``rules`` whose durations are ``factor`` times shorter."""
    made = deepcopy(rules)
    for group in made["groups"]:
        for rule in group["rules"]:
            expression = _DURATION.sub(lambda found: _shorter(found[0].removeprefix("offset "), factor), rule["expr"])
            rule["expr"] = _AGE.sub(lambda found: f"{found[1]} > {int(found[2]) / factor:g}", expression)
            if "for" in rule:
                rule["for"] = _shorter(rule["for"], factor)
    return made


def without_durations(rules: dict[str, Any]) -> dict[str, Any]:
    """What is left of ``rules``: equal before and after a hurry."""
    made = deepcopy(rules)
    for group in made["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[\d+m?s?h?\]|\boffset \d+m?s?h?\b", "…", rule["expr"])
            rule["expr"] = re.sub(r"(_age_seconds(?:{[^}]*})?\)) > [\d.]+$", r"\1 > …", rule["expr"])
            if "for" in rule:
                rule["for"] = "…"
    return made


def _shorter(duration: str, factor: int) -> str:
    return f"{int(duration[:-1]) * _SECONDS[duration[-1]] * 1000 // factor}ms"
