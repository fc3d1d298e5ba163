"""The tour shows what its script has, in that order, and no command that is not there. (`make tour` makes it again.)"""

import re
import shlex
from typing import Any

import typer.main

from cli.main import app
from tools.tour import NOTICE, PAGE, START, STEPS

COMMANDS = [command for step in STEPS for command in step.commands]
TYPED = re.compile(r"(?:^|; (?:do )?)orderflow ([^;|]+)")


def test_the_page_has_the_scripts_headings_texts_and_commands() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(NOTICE)
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [step.heading for step in STEPS]
    assert re.findall(r"^\$ (.+)$", page, re.MULTILINE) == COMMANDS
    for step in STEPS:
        assert step.text.partition("{order}")[0] in page


def test_the_page_tells_of_one_order() -> None:
    page = PAGE.read_text(encoding="utf-8")
    [order] = set(re.findall(r"^ORDER=(.+)$", page, re.MULTILINE))
    assert set(re.findall(r"\border-([0-9a-f]{8}-[0-9a-f-]{27})", page)) == {order}
    sections = page.split("\n## ")[[step.heading for step in STEPS].index(START) + 1 :]
    told = [section.partition("\n")[0] for section in sections if order in section]
    assert len(told) > len(STEPS) / 2


def test_each_orderflow_command_exists_with_its_options() -> None:
    for line in [line for command in COMMANDS for line in TYPED.findall(command)]:
        words = shlex.split(line)
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            assert words, f"{line}: of which command?"
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_what_is_typed_in_a_second_terminal_was_begun_before() -> None:
    headings = [step.heading for step in STEPS]
    for step in STEPS:
        if step.beside is not None:
            assert headings.index(step.beside) < headings.index(step.heading)
            assert len(step.commands) == 1
