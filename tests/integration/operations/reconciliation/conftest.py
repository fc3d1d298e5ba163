"""What runs in a world's namespace is compared with its databases."""

import pytest

from support.auditor import Auditor
from support.stack import Databases
from support.world import World


@pytest.fixture
def auditor(world: World, databases: Databases) -> Auditor:
    return Auditor(world, databases)
