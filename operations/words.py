"""Spans, moments and counts as sentences have them. Pure."""

from datetime import datetime, timedelta


def short(text: str | None, most: int = 160) -> str:
    """``text`` on one line, without its full stop, and not longer than ``most``."""
    said = " ".join((text or "").split()).rstrip(".")
    return said if len(said) <= most else said[: most - 1].rstrip() + "…"


def clock(moment: datetime) -> str:
    """A moment to the second, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def age(now: datetime, moment: datetime) -> str:
    """How long ago, never less than nothing."""
    return duration(max(now - moment, timedelta()))


def times(number: int) -> str:
    """How often."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def one_or_many(number: int, one: str, many: str) -> str:
    """The word that fits the number."""
    return one if number == 1 else many


def counted(number: int, one: str, many: str = "") -> str:
    """How many of what: ``1 order``, ``2 orders``."""
    return f"{number:,} {one_or_many(number, one, many or one + 's')}"


def waiting(number: int, one: str) -> str:
    """That they wait: ``1 event waits``, ``2 events wait``."""
    return f"{counted(number, one)} {one_or_many(number, 'waits', 'wait')}"


def duration(span: timedelta) -> str:
    """In the largest fitting units: ``0.012 s``, ``7 s``, ``3 min 12 s``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, name, smaller_size, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
