"""What ``orderflow doctor`` finds."""

import json
from typing import Any

from support.terminal import Terminal

Checks = dict[str, dict[str, Any]]


async def examined(terminal: Terminal) -> tuple[int, Checks]:
    """Its exit code, and its checks by what they are about."""
    said = await terminal.run("doctor", "--json")
    document = json.loads(said.out)
    assert document["ok"] == (said.code == 0)
    return said.code, {check["about"]: check for check in document["checks"]}


def wrong(checks: Checks) -> list[str]:
    """What those are about that failed."""
    return [about for about, check in checks.items() if not check["ok"]]
