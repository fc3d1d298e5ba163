"""The commands of docs/temporal-cli.md, pasted into a shell: they print what the page shows, and do what it says."""

import asyncio
import os
import re
import sys
from pathlib import Path

from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT
from support.shop import Shop

PAGE = ROOT / "docs" / "temporal-cli.md"
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"^\s*\d+\s+\d{4}-\d\d-\d\dT[\d:.]+Z"), "EVENT"),
    (re.compile(r"(?:\d+ \w+ ago|now)\s*$"), ""),
    (re.compile(r"event ID \d+"), "event N"),
    (re.compile(r"\s+"), " "),
)


def plain(line: str) -> str:
    """A line without what is another each time."""
    for pattern, name in _CHANGING:
        line = pattern.sub(name, line)
    return line.strip()


def blocks() -> tuple[str, list[str]]:
    """All commands of the page, and all lines that it shows, up to where they are shortened."""
    text = PAGE.read_text()
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    shown = "\n".join(
        re.findall(r"```\n((?:(?!```).)+?)```(?:\n|$)", re.sub(r"```sh\n.*?```", "", text, flags=re.S), re.S)
    )
    return commands, [plain(line.partition("…")[0]) for line in shown.splitlines() if line.partition("…")[0].strip()]


async def test_the_commands_print_what_the_page_shows(stack: EmbeddedStack, shop: Shop, tmp_path: Path) -> None:
    commands, shown = blocks()
    assert len(shown) > 25
    basket = [("1082185", 2, 99)]
    await shop.stock_up([basket])
    order, other = await shop.place(basket), await shop.place(basket)
    for approved in (order, other):
        await shop.ask(approved, "approve")
        await shop.reaches(approved, "FULFILLING")
    address, codec = stack.settings.temporal_address, f"127.0.0.1:{stack.settings.codec_port}"

    # The index of search attributes follows a moment later: what the page lists must be there.
    found = f"""until [ "$(temporal workflow count --address {address} \
      --query "OrderStatus = 'FULFILLING' AND WorkflowId = 'order-{order}'")" = "Total: 1" ]; do sleep 0.1; done\n"""
    beside = str(Path(sys.executable).parent)
    shell = await asyncio.create_subprocess_exec(
        *(
            "bash",
            "-c",
            "set -e\n" + found + commands.replace("localhost:7233", address).replace("localhost:8096", codec),
        ),
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}", "ORDER": order, "OTHER": other},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, errors.decode(errors="replace")
    printed = [plain(line) for line in output.decode().splitlines()]
    missing = [line for line in shown if not any(said.startswith(line) for said in printed)]
    assert missing == [], output.decode()

    assert (await shop.reaches(other, "CANCELLED"))["reason"] == "operator"
    assert (await shop.http.get(f"/orders/{order}")).json()["status"] == "FULFILLING"
