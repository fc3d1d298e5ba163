"""Anybody may ask whether the API is ready: however many do, the databases are asked as often as one would."""

import asyncio

import pytest

from api import health
from api.health import Dependencies
from support.waiting import until


class Needed:
    """A dependency that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.is_well = True

    async def check(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if not self.is_well:
            raise ConnectionError("away")

    async def is_asked(self) -> bool:
        return self.asked > 0


async def test_those_who_ask_at_once_share_one_look() -> None:
    needed = Needed()
    dependencies = Dependencies({"db": needed.check}, {})
    asking = [asyncio.create_task(dependencies.is_ready()) for _ in range(60)]
    await until(needed.is_asked)
    asking.append(asyncio.create_task(dependencies.is_ready()))
    needed.answers.set()
    assert all(await asyncio.gather(*asking))
    assert needed.asked == 1
    assert await dependencies.is_ready()
    assert needed.asked == 1


async def test_who_goes_away_ends_the_look_for_nobody_else() -> None:
    needed = Needed()
    dependencies = Dependencies({"db": needed.check}, {})
    leaves = asyncio.create_task(dependencies.is_ready())
    await until(needed.is_asked)
    stays = asyncio.create_task(dependencies.is_ready())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.wait([leaves])
    needed.answers.set()
    assert await asyncio.wait_for(stays, 5)
    assert (leaves.cancelled(), needed.asked) == (True, 1)


async def test_what_was_found_is_believed_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BELIEVED_SECONDS", 0.05)
    needed = Needed()
    needed.answers.set()
    dependencies = Dependencies({"db": needed.check}, {})
    assert await dependencies.is_ready()
    needed.is_well = False

    async def is_away() -> bool:
        return not await dependencies.is_ready()

    await until(is_away, seconds=5)
    assert needed.asked >= 2
