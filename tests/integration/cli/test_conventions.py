"""What holds for every command: `--json`, exit codes, and errors without a traceback."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app
from support.api import CLOSED
from support.paths import ROOT
from support.terminal import Said, Terminal

NO_ORDER = "00000000-0000-4000-8000-000000000000"
#: They print no result: processes that stay in the foreground, and a debugger.
WITHOUT_JSON = {"up", "api", "codec", "worker", "observe", "debug", "login"}
REASON = ("--reason", "x")
#: Every command that needs a server, with what it needs.
WITH_SERVERS: dict[str, tuple[str, ...]] = {
    "setup": (),
    "status": (),
    "reconcile": (),
    "stuck": (),
    "lag": (),
    "replay": ("--since", "1h"),
    "order place": ("--customer", "c", "--line", "bread:1:1"),
    "order show": (NO_ORDER,),
    "order list": (),
    "order approve": (NO_ORDER,),
    "order ship": (NO_ORDER,),
    "order complete": (NO_ORDER,),
    "order cancel": (NO_ORDER,),
    "order explain": (NO_ORDER,),
    "order watch": (NO_ORDER,),
    "order nudge": (NO_ORDER, *REASON),
    "order reset": (NO_ORDER, *REASON),
    "stock set": ("bread", "1"),
    "stock adjust": ("bread", "1", *REASON),
    "stock show": (),
    "stock import": ("stock.csv",),
    "events tail": (),
    "outbox status": (),
    "outbox republish": ("--since", "1h"),
    "outbox unpark": (NO_ORDER,),
    "dlq list": (),
    "dlq passed": (),
    "dlq show": ("1",),
    "dlq redrive": (),
    "dlq discard": ("1", "--yes"),
    "keys create": ("somebody", "--role", "merchant"),
    "keys list": (),
    "keys rotate": ("somebody",),
    "keys revoke": ("somebody",),
}
#: `doctor` says of each server whether it answers, and ends with 1; the others need none, or start their own.
WITHOUT_SERVERS = {"doctor", "demo", "down", "order trace", "profile list", "profile show"}
WITHOUT_SERVERS |= {"payload-keys create", "payload-keys list", "payload-keys rotate"}


def commands() -> dict[str, TyperCommand]:
    """All of them, by what a person types."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, TyperCommand]]:
        if isinstance(command, TyperGroup):
            for name, below in command.commands.items():
                yield from walk(below, (*path, name))
        else:
            yield " ".join(path), command

    return dict(walk(get_command(app), ()))


def options(name: str) -> list[TyperOption]:
    return [parameter for parameter in commands()[name].params if isinstance(parameter, TyperOption)]


def test_every_command_that_prints_a_result_has_json() -> None:
    without = {name for name in commands() if not any("--json" in option.opts for option in options(name))}
    assert without == WITHOUT_JSON
    [said] = re.findall(r"Only (.*) have none", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"))
    assert set(re.findall(r"`(\w+)`", said)) == WITHOUT_JSON


def test_every_command_is_known_here() -> None:
    """Who adds one says here what it needs, and so has it tested."""
    assert commands().keys() == WITH_SERVERS.keys() | WITHOUT_SERVERS | WITHOUT_JSON


@pytest.mark.parametrize("name", commands())
def test_every_command_says_what_it_does_and_refuses_what_it_does_not_know(name: str) -> None:
    runner = CliRunner()
    said = runner.invoke(app, [*name.split(), "--help"])
    assert (said.exit_code, len(commands()[name].help or "") > 10) == (0, True)
    assert [option.name for option in options(name) if not option.help] == []
    wrong = runner.invoke(app, [*name.split(), "--no-such-option"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")


@pytest.mark.timeout(240)
async def test_every_command_ends_with_3_when_nothing_answers(tmp_path: Path) -> None:
    """What is on stdout is JSON or nothing."""
    (tmp_path / "stock.csv").write_text("sku,on_hand\nbread,1\n")
    nowhere = {
        f"{service}_database_url": f"postgresql://o@{CLOSED}/o" for service in ("orders", "payments", "inventory")
    }
    terminal = Terminal(
        tmp_path,
        api_url=f"http://{CLOSED}",
        gateway_url=f"http://{CLOSED}",
        temporal_address=CLOSED,
        kafka_bootstrap_servers=CLOSED,
        orders_admin_url=f"postgresql://o@{CLOSED}/o",
        **nowhere,
    )
    few_at_once = asyncio.Semaphore(6)  # they mostly wait

    async def run(name: str, arguments: tuple[str, ...]) -> tuple[str, Said]:
        async with few_at_once:
            return name, await terminal.run(*name.split(), *arguments, "--json")

    told = dict(await asyncio.gather(*(run(name, arguments) for name, arguments in WITH_SERVERS.items())))
    assert {name: said.code for name, said in told.items()} == dict.fromkeys(WITH_SERVERS, 3)
    for name, said in told.items():
        assert said.out or said.err, name
        if said.out:
            json.loads(said.out)


@pytest.mark.parametrize("name", ["order show", "order watch", "stock show"])
async def test_an_address_that_is_no_url_is_named(tmp_path: Path, name: str) -> None:
    said = await Terminal(tmp_path, api_url="nonsense").run(*name.split(), *WITH_SERVERS[name])
    assert said.code == 2
    assert said.err == "error: 'nonsense' is not the URL of an API, such as http://localhost:8080\n"
