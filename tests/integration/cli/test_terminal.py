"""The command on terminals, with files and environments that are not as we like them: a clear error, no traceback."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from orderflow.settings import Settings
from support.terminal import Said, Terminal

#: Passwords that somebody forgot to percent-encode, in the URL of a server that does not exist.
PASSWORDS = ("S3cr3t/Pa#rt", "S3cr3t?Pa", "S3cr3t@Pa", "S3cr3t Pa", "[S3cr3t]", "1#S3cr3t", "S3cr3t%zz", "S3cr3t\x9b")
LATIN_1 = {"PYTHONIOENCODING": "latin-1"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


async def said_in_bytes(terminal: Terminal, *arguments: str | bytes) -> Said:
    """As ``Terminal.run``, for arguments and outputs that are no UTF-8."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        cwd=terminal.home,
        env=terminal.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    said = Said(child.returncode or 0, out.decode("latin-1"), err.decode("latin-1"))
    assert "Traceback" not in said.err, said.err
    return said


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_that_is_not_encoded_is_in_no_error_of_the_settings(password: str) -> None:
    with pytest.raises(ValidationError, match="percent-encode") as refused:
        Settings(_env_file=None, orders_database_url=SecretStr(f"postgresql://orders:{password}@db:5432/orders"))
    assert "S3cr3t" not in str(refused.value) + repr(refused.value)


async def test_a_password_that_is_not_encoded_is_refused_and_shown_by_no_command(terminal: Terminal) -> None:
    terminal.env["ORDERFLOW_ORDERS_DATABASE_URL"] = "postgresql://orders:S3cr3t/Pa#rt@db.example.com:5432/orders"
    for command in ("profile show", "profile show --json", "doctor", "stuck", "api", "worker relay", "setup"):
        assert_refused(await terminal.run(*command.split()))


async def test_a_key_that_no_header_can_carry_is_refused_and_shown_by_no_command(terminal: Terminal) -> None:
    terminal.env.update(ORDERFLOW_API_KEY="ofk_dev_S3cr3té", ORDERFLOW_API_URL="http://127.0.0.1:9")
    order_id = "00000000-0000-4000-8000-000000000000"
    for command in ("order list", f"order watch {order_id}"):
        said = await terminal.run(*command.split())
        assert (said.code, "ORDERFLOW_API_KEY: that is no key" in said.err) == (2, True), said.err
        assert "S3cr3t" not in said.out + said.err


def assert_refused(said: Said) -> None:
    assert said.code == 2
    assert "ORDERFLOW_ORDERS_DATABASE_URL: it is no URL that can be read in one way only: percent-encode" in said.err
    assert "S3cr3t" not in said.out + said.err
    assert "rt@" not in said.out + said.err


@pytest.mark.parametrize("setting", ["PAYMENTS_ADMIN_URL", "GATEWAY_URL", "API_URL", "TEMPORAL_UI_URL", "TRACES"])
async def test_every_setting_that_is_a_url_is_checked(terminal: Terminal, setting: str) -> None:
    scheme = "postgresql" if "ADMIN" in setting else "http"
    terminal.env[f"ORDERFLOW_{setting}"] = f"{scheme}://me:1/S3cr3t#x@host/path"
    said = await terminal.run("worker", "relay")
    assert (said.code, f"ORDERFLOW_{setting}: " in said.err, "percent-encode" in said.err) == (2, True, True)
    assert "S3cr3t" not in said.err


async def test_urls_of_options_and_right_ones_are_shown_without_their_passwords(terminal: Terminal) -> None:
    terminal.env |= {
        "ORDERFLOW_GATEWAY_URL": "http://me:S3cr3t%2F@127.0.0.1:9/x",
        "ORDERFLOW_API_URL": "http://me:S3cr3t@127.0.0.1:9",
    }
    for arguments in (
        ("profile", "show"),
        ("doctor",),
        ("order", "list"),
        ("order", "list", "--api", "http://me:S3cr3t/#@127.0.0.1:9"),
        ("dlq", "list", "--database", "postgresql://me:S3cr3t/#@127.0.0.1:9/x"),
    ):
        said = await terminal.run(*arguments)
        assert "S3cr3t" not in said.out + said.err, arguments
    assert "http://me:***@127.0.0.1:9/x" in (await terminal.run("profile", "show")).out


@pytest.mark.parametrize("locale", [LATIN_1, ASCII], ids=["Latin-1", "ASCII"])
async def test_no_locale_ends_in_a_traceback(terminal: Terminal, locale: dict[str, str]) -> None:
    """Nothing answers, and that is said with arrows and dashes."""
    terminal.env |= locale | {
        f"ORDERFLOW_{name}_DATABASE_URL": "postgresql://orders@127.0.0.1:9/orders"
        for name in ("ORDERS", "PAYMENTS", "INVENTORY")
    }
    terminal.env |= {"ORDERFLOW_TEMPORAL_ADDRESS": "127.0.0.1:9", "ORDERFLOW_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    order = "00000000-0000-4000-8000-000000000000"
    for arguments in (("order", "explain", order), ("stuck",), ("doctor",), ("status",), ("--help",), ("order", "x")):
        said = await said_in_bytes(terminal, *arguments)
        assert said.out or said.err
    told = await said_in_bytes(terminal, "order", "explain", order, "--json")
    assert json.loads(told.out)["order_id"] == order


@pytest.mark.parametrize("argument", [b"M\xfcller", b"\xff\xfea\x00", b"c\xc2\x9b31m", b"\x1b[31m"])
async def test_an_argument_that_is_no_text_is_refused_by_its_number(terminal: Terminal, argument: bytes) -> None:
    if b"\0" in argument:
        argument = argument.partition(b"\0")[0]
    said = await said_in_bytes(terminal, "order", "list", "--customer", argument)
    assert (said.code, "argument 4 (" in said.err) == (2, True)
    assert not any(raw in said.err for raw in ("\x1b", "\xc2\x9b"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("ORDERFLOW_API_PORT=1\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("ORDERFLOW_API_PORT=1\n".encode("utf-16-le"), "line 1: it has a NUL byte"),
        ("ORDERFLOW_API_PORT=1\n# Müller\n".encode("latin-1"), "line 2: it is not UTF-8 text"),
        (b"ORDERFLOW_API_PORT=1\n\0", "line 2: it has a NUL byte"),
        (b"#" * 2_000_000, "is longer than 1048576 bytes"),
    ],
)
async def test_a_file_of_settings_that_is_no_text_is_named(terminal: Terminal, content: bytes, why: str) -> None:
    (terminal.home / ".env.near").write_bytes(content)
    near = await terminal.run("--profile", "near", "status")
    (terminal.home / ".env").write_bytes(content)
    usual = await terminal.run("status")
    assert (usual.code, near.code) == (2, 2)
    assert ".env " in usual.err
    assert why in usual.err
    assert "profile near: " in near.err
    assert why in near.err


async def test_a_byte_order_mark_is_no_part_of_the_first_setting(terminal: Terminal) -> None:
    (terminal.home / ".env").write_text("ORDERFLOW_KAFKA_TOPIC=first\n", encoding="utf-8-sig")
    (terminal.home / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near\n", encoding="utf-8-sig")
    assert "first  (.env)" in (await terminal.run("profile", "show")).out
    assert "near  (profile near)" in (await terminal.run("profile", "show", "near")).out


async def test_a_variable_that_nothing_reads_is_named_once(terminal: Terminal) -> None:
    terminal.env["ORDERFLOW_KAFKA_TOPPIC"] = "x"
    (terminal.home / ".env").write_text("ORDERFLOW_NOTHING_LIKE_IT=1\nOTHER=2\n")
    said = await terminal.run("profile", "show")
    assert said.code == 0
    assert [line for line in said.err.splitlines() if line.startswith("warning")] == [
        "warning: ORDERFLOW_KAFKA_TOPPIC in the environment is no setting; is it ORDERFLOW_KAFKA_TOPIC?",
        "warning: ORDERFLOW_NOTHING_LIKE_IT in .env is no setting",
    ]


async def test_a_setting_that_is_no_text_is_named(terminal: Terminal) -> None:
    terminal.env["ORDERFLOW_KAFKA_TOPIC"] = os.fsdecode(b"caf\xe9")
    said = await terminal.run("status")
    assert (said.code, "ORDERFLOW_KAFKA_TOPIC: it is not text in UTF-8" in said.err) == (2, True)
