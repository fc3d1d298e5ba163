"""Orders whose steps run near, or far where a test says so."""

from datetime import timedelta

import pytest
import pytest_asyncio

from orderflow.settings import Settings
from support.api import a_namespace, api_settings
from support.stack import Databases
from workflows.options import FAR, NEAR


@pytest.fixture
def steps(request: pytest.FixtureRequest) -> str:
    """Where the steps run: ``@pytest.mark.parametrize("steps", [...], indirect=True)``."""
    return str(getattr(request, "param", "near"))


@pytest_asyncio.fixture
async def settings(databases: Databases, temporal_server: str, steps: str) -> Settings:
    return api_settings(databases, temporal_server, await a_namespace(temporal_server), steps=steps)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt of a step that gives no answer is given up after half a second near, and after a second far."""
    near, far = timedelta(seconds=0.5), timedelta(seconds=1)
    monkeypatch.setitem(NEAR, "schedule_to_close_timeout", near)
    monkeypatch.setitem(NEAR, "start_to_close_timeout", near)
    monkeypatch.setitem(FAR, "start_to_close_timeout", far)
