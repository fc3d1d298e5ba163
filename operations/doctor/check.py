"""What a check says, and how all of them are run at once, however many dependencies are down."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

#: For one check. They run at once, so the whole takes hardly longer.
DEADLINE_SECONDS: Final = 8.0
#: Clocks further apart than this make ages, `--since` and expiry dates wrong enough to mislead.
MOST_SKEW: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at. ``fix``: what to do about it, where it is not ``ok``."""

    about: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Looks at one dependency. ``fix`` is for when it does not answer at all."""

    about: str
    look: Callable[[], Awaitable[Sequence[Checked]]]
    fix: str


async def run_all(checks: Sequence[Check]) -> list[Checked]:
    """All lines, in the order of ``checks``. A check that fails or takes too long is a line that is not ok."""
    return [line for lines in await asyncio.gather(*(_run(check) for check in checks)) for line in lines]


async def _run(check: Check) -> Sequence[Checked]:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await check.look()
    except TimeoutError:
        detail = f"no answer within {DEADLINE_SECONDS:.0f} s"
    except Exception as error:  # whatever it is, the other checks go on, and this one says what it met
        text = " ".join(str(error).split())
        detail = text if text and len(text) > 15 else f"{type(error).__name__} {text}".strip()
    return [Checked(check.about, False, detail, check.fix)]


def clock(whose: str, theirs: datetime, asked: datetime, answered: datetime) -> Checked:
    """Compare a clock with ours: ``theirs`` was read between ``asked`` and ``answered`` (all aware)."""
    early, late = asked - theirs, theirs - answered
    skew = max(early, late, timedelta())
    about = f"clock of {whose}"
    if skew <= MOST_SKEW:
        return Checked(about, True, "agrees with this machine's")
    direction = "behind" if early > late else "ahead of"
    fix = "synchronise the clocks of both machines (chrony, systemd-timesyncd)"
    return Checked(about, False, f"{skew.total_seconds():.1f} s {direction} this machine's", fix)


def now() -> datetime:
    """This machine's clock, aware, in UTC."""
    return datetime.now(UTC)
