"""What runs in a world's namespace is compared with its databases."""

import pytest

from orderflow.settings import Settings
from support.auditor import Auditor
from support.stack import Databases
from support.world import World


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Steps on their task queues: without its worker a service is away."""
    return settings.model_copy(update={"steps": "far"})


@pytest.fixture
def auditor(world: World, databases: Databases) -> Auditor:
    return Auditor(world, databases)
