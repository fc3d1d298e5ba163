"""The README's curl lines, pasted into a shell."""

import asyncio
import json
import re

from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT

README = ROOT / "README.md"


def _curl_lines() -> str:
    text = README.read_text()
    found = re.search(r"## The API in curl.*?```sh\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


async def test_the_curl_lines_work_when_pasted(stack: EmbeddedStack) -> None:
    pasted = _curl_lines().replace("http://localhost:8080", stack.settings.api_url)
    assert stack.settings.api_url in pasted
    # As a terminal does: each command's answer on lines of its own.
    script = 'set -e\ncurl() { command curl --fail-with-body "$@" && echo || { echo; true; }; }\n' + pasted
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, errors.decode()
    answers = [json.loads(line) for line in output.decode().splitlines() if line.strip()]
    put, approved, shown, shipped, completed, refused, events, listed, stock = answers
    assert put["on_hand"] == 100
    assert approved["command"]["status"] == "APPROVED"
    assert shown["status"] == "FULFILLING"
    assert shipped["command"]["status"] == "SHIPPED"
    assert completed["command"]["status"] == "COMPLETED"
    assert refused["status"] == 409
    assert refused["allowed_actions"] == []
    assert [e["status"] for e in events["events"] if e["source"] == "/orderflow/orders"][-1] == "COMPLETED"
    assert shown["id"] in [order["id"] for order in listed["orders"]]
    assert stock["on_hand"] == 98
