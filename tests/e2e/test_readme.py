"""The README's blocks, pasted into a shell behind the `export` line of `make up`; the kit's quickstart too."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from cli.pages.stack import export
from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT

README = ROOT / "README.md"
KIT = ROOT / "events" / "README.md"


def block(page: Path, heading: str) -> str:
    """The first block of shell below a heading."""
    found = re.search(rf"^## {heading}$.*?```sh\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


async def pasted(stack: EmbeddedStack, script: str, *, seconds: float = 90) -> tuple[str, str]:
    """What ``script`` prints in a terminal where the stack runs; it ends by itself, with 0."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERFLOW_", "TEMPORAL_"))}
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", "\n".join(["set -e", export(stack.settings), script])),
        cwd=ROOT,
        env={**kept, "ORDERFLOW_DATA_DIR": str(stack.data_dir)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(shell.communicate(), seconds)
    finally:
        if shell.returncode is None:
            shell.kill()
            await shell.communicate()
    assert shell.returncode == 0, errors.decode() + output.decode()
    return output.decode(), errors.decode()


async def test_the_blocks_work_when_pasted(stack: EmbeddedStack) -> None:
    # As a terminal does: each command's answer on lines of its own. A refusal is printed, and the next line goes on.
    curl = 'curl() { command curl --fail-with-body "$@" && echo || { echo; true; }; }\n'
    commands = block(README, "The same order, from elsewhere")
    if shutil.which("kcat") is None:
        commands = re.sub(r"^kcat .*$", "", commands, flags=re.MULTILINE)
    # Other tests' orders may be stuck, which is an answer too.
    commands = re.sub(r"^(orderflow stuck\b.*)$", r"{ \1\n} || [ $? = 1 ]", commands, flags=re.MULTILINE)
    output, _ = await pasted(stack, curl + block(README, "The API in curl") + "\necho ELSEWHERE $ORDER\n" + commands)
    of_api, _, elsewhere = output.partition("ELSEWHERE ")
    answers = [json.loads(line) for line in of_api.splitlines() if line.strip()]
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
    assert elsewhere.startswith(shown["id"])
    for said in ("capture_payment (near): ok", "INVENTORY_COMMITTED", f"order-{shown['id']}"):
        assert said in elsewhere, elsewhere


@pytest.mark.timeout(300)
async def test_the_consumers_quickstart_works_when_pasted(stack: EmbeddedStack) -> None:
    script = block(KIT, "A consumer in 30 lines").replace("$CLONE/.orderflow/", f"{stack.data_dir}/")
    output, errors = await pasted(stack, script, seconds=240)
    assert "\nok\n" in output, errors
    assert re.search(r"order_id +\| +amount +\| +currency", output), output
