"""Generated requests, good and bad, with a key and without: as many as a test has time for. ``make fuzz`` has more."""

import asyncio

import pytest

from orderflow.settings import Settings
from support.keys import MERCHANT
from support.terminal import served
from support.world import World
from tools.fuzz.run import fuzz


@pytest.mark.timeout(300)
async def test_the_api_does_what_its_document_says(world: World, settings: Settings) -> None:
    await world.stock(**{"SKU-1": 10_000})
    async with served(settings) as url:
        found = await asyncio.to_thread(fuzz, url, MERCHANT["Authorization"], examples=20, seed=1)
    assert found.code == 0, found.said[-20_000:]
    assert found.cases.total() > 1000
    assert not [status for status in found.cases if status >= 500]
    assert found.cases[201] > 5
    assert found.cases[401] > 10
