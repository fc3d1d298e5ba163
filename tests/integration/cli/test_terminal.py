"""The command on terminals, with files and environments that are not as we like them: a clear error, no traceback."""

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from orderflow.settings import Settings
from support.keys import KEY_TEXT
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
    return await said_of(terminal, sys.executable, "-m", "cli.main", *arguments, encoding="latin-1")


async def said_of(terminal: Terminal, *argv: str | bytes, encoding: str = "utf-8") -> Said:
    """What a command of any kind says in the terminal's folder and environment."""
    child = await asyncio.create_subprocess_exec(
        *argv,
        cwd=terminal.home,
        env=terminal.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), 60)
    said = Said(child.returncode or 0, out.decode(encoding), err.decode(encoding))
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


@pytest.mark.parametrize("ending", [b"\xfc", b"\x07"])
@pytest.mark.parametrize(
    "arguments",
    [
        (b"--database", b"postgresql://u:S3cr"),
        (b"--database=postgresql://u:S3cr",),
        (b"--api", b"u:S3cr"),
        (b"--token", b"S3cr"),
        (b"--token=S3cr",),
        (b"postgresql://u:S3cr",),
    ],
)
async def test_a_secret_in_an_argument_that_is_no_text_is_not_shown(
    terminal: Terminal, arguments: tuple[bytes, ...], ending: bytes
) -> None:
    *before, last = arguments
    said = await said_in_bytes(terminal, "dlq", "list", *before, last + ending)
    assert (said.code, f"argument {2 + len(arguments)} (***): it " in said.err) == (2, True)
    assert "S3cr" not in said.err


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


async def test_settings_in_a_pipe_are_refused_and_not_waited_for(terminal: Terminal) -> None:
    os.mkfifo(terminal.home / ".env")
    for arguments in (("status",), ("order", "list"), ("profile", "show")):
        said = await terminal.run(*arguments)
        assert (said.code, said.err) == (2, "error: the settings: .env is a named pipe, and must be a file\n")


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


async def redirected(terminal: Terminal, where: str, *arguments: str) -> Said:
    """The command with its outputs where the shell's words send them."""
    return await said_by_shell(terminal, f"{shlex.join([sys.executable, '-m', 'cli.main', *arguments])} {where}")


async def said_by_shell(terminal: Terminal, script: str) -> Said:
    return await said_of(terminal, "sh", "-c", script)


async def test_an_output_that_is_closed_takes_nothing_from_the_other(terminal: Terminal) -> None:
    (terminal.home / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near\n")
    listing = ("profile", "list", "--json")
    assert await redirected(terminal, ">&-", *listing) == Said(0, "", "")
    closed = await redirected(terminal, "2>&-", *listing)
    assert (closed.code, json.loads(closed.out)[0]["name"], closed.err) == (0, "near", "")
    assert await redirected(terminal, ">&- 2>&-", *listing) == Said(0, "", "")
    assert (await redirected(terminal, ">&- 2>&-", "profile", "show", "none")).code == 4


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is full")
@pytest.mark.parametrize("arguments", [("profile", "list", "--json"), ("profile", "list"), ("--help",)], ids=" ".join)
async def test_an_output_that_takes_nothing_is_said_and_is_no_success(
    terminal: Terminal, arguments: tuple[str, ...]
) -> None:
    (terminal.home / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near\n")
    full = await redirected(terminal, ">/dev/full", *arguments)
    assert (full.code, full.out, full.err) == (1, "", "error: No space left on device\n")
    assert (await redirected(terminal, ">/dev/full 2>&1", *arguments)).code == 1


@pytest.mark.parametrize("columns", ["0", "1", "19", "", "\u00b2", "many", "999999999"])
async def test_columns_in_which_nothing_can_be_read_are_not_believed(terminal: Terminal, columns: str) -> None:
    (terminal.home / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near\n")
    for arguments in (("profile", "list"), ("profile", "show", "none"), ("profile", "--help")):
        usual = await terminal.run(*arguments)
        assert await _with(terminal, COLUMNS=columns).run(*arguments) == usual


def _with(terminal: Terminal, **variables: str) -> Terminal:
    other = Terminal(terminal.home)
    other.env = {**terminal.env, **variables}
    return other


async def test_a_working_directory_that_was_removed_is_an_error_of_one_line(terminal: Terminal) -> None:
    gone = terminal.home / "gone"
    for arguments in (("profile", "list"), ("--profile", "near", "status"), ("profile", "show", "near")):
        gone.mkdir()
        command = shlex.join([sys.executable, "-m", "cli.main", *arguments])
        said = await said_by_shell(
            terminal, f"cd {shlex.quote(str(gone))} && rmdir {shlex.quote(str(gone))}; {command}"
        )
        assert (said.code, said.out) == (2, "")
        assert said.err == "error: the working directory: No such file or directory\n"


async def test_settings_that_cannot_be_looked_at_are_named(terminal: Terminal) -> None:
    for name in (".env", ".env.near"):
        (terminal.home / name).symlink_to("x" * 300)
    usual, near = await terminal.run("status"), await terminal.run("--profile", "near", "status")
    assert (usual.code, usual.err) == (2, "error: the settings: .env cannot be read: File name too long\n")
    assert near.code == 2
    assert "cannot be read: File name too long" in near.err


async def test_an_input_that_is_closed_is_nobody_to_ask(terminal: Terminal) -> None:
    discard = await redirected(terminal, "<&-", "dlq", "discard", "1")
    assert (discard.code, discard.err) == (2, "error: a discarded event is never applied: say --yes\n")
    login = await redirected(terminal, "<&-", "login", "prod", "--api", "http://127.0.0.1:9")
    assert login.code == 2
    assert login.err == "error: standard input is closed: give the key there, or --key-file FILE\n"


async def test_an_input_that_is_no_text_is_no_key(terminal: Terminal) -> None:
    command = shlex.join([sys.executable, "-m", "cli.main", "login", "prod", "--api", "http://127.0.0.1:9"])
    terminal.env |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    said = await said_by_shell(terminal, f"printf 'ofk_\\377\\n' | {command}")
    assert (said.code, "standard input line 1: it is not UTF-8 text" in said.err) == (2, True), said.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("outbox", "republish", "--since", "9999999d"), "'9999999d' is too long ago"),
        (("outbox", "republish", "--since", "99999999999999d"), "'99999999999999d' is too long ago"),
        (("outbox", "republish", "--since", "9" * 5000 + "d"), "is neither a time"),
        (("outbox", "republish", "--since", "0001-01-01T00:00+14:00"), "is too long ago"),
        (("replay", "--since", "900000d"), "'900000d' is too long"),
        (("replay", "--since", "11000d11000d"), "'11000d11000d' is too long"),
        (("replay", "--since", "9" * 5000 + "d"), "is no span of time"),
        (("stuck", "--older-than", "inf"), "'inf' is no number of seconds from 0 to 1000000000"),
        (("stuck", "--older-than", "-1"), "'-1' is no number of seconds from 0 to 1000000000"),
        (("reconcile", "--older-than", "nan"), "'nan' is no number of seconds from 0 to 1000000000"),
        (("reconcile", "--older-than", "1e10"), "'1e10' is no number of seconds from 0 to 1000000000"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
async def test_a_time_out_of_range_is_refused(terminal: Terminal, arguments: tuple[str, ...], why: str) -> None:
    said = await terminal.run(*arguments)
    assert (said.code, said.out) == (2, "")
    assert why in " ".join(said.err.replace("│", "").split())


PROFILE = Path("orderflow", "prod.env")
LOGIN = shlex.join([sys.executable, "-m", "cli.main", "login", "prod", "--api", "http://127.0.0.1:9"])


@pytest.fixture
def profile(terminal: Terminal) -> None:
    """The profile `prod`, which has more than login writes."""
    terminal.env["XDG_CONFIG_HOME"] = str(terminal.home)
    file = terminal.home / PROFILE
    file.parent.mkdir()
    file.touch(mode=0o600)
    file.write_text(
        "# Müller €\nORDERFLOW_API_KEY_FILE=/else\n export  orderflow_api_url = http://old\nORDERFLOW_API_KEY=old\n"
        "ORDERFLOW_API_PORT=1\n",
        encoding="utf-8",
    )


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
@pytest.mark.usefixtures("profile")
async def test_login_changes_in_a_profile_what_is_the_apis_and_nothing_else(terminal: Terminal, locale: str) -> None:
    terminal.env |= {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    said = await said_by_shell(terminal, f"echo {KEY_TEXT} | {LOGIN}")
    assert said.code == 0, said.err
    assert (terminal.home / PROFILE).read_text(encoding="utf-8") == (
        f"# Müller €\nORDERFLOW_API_PORT=1\nORDERFLOW_API_URL=http://127.0.0.1:9\nORDERFLOW_API_KEY={KEY_TEXT}\n"
    )
    assert (terminal.home / PROFILE).stat().st_mode & 0o777 == 0o600
    assert (await terminal.run("--profile", "prod", "profile", "show")).code == 0


@pytest.mark.usefixtures("profile")
async def test_login_that_cannot_write_leaves_the_profile_as_it_is(terminal: Terminal) -> None:
    file = terminal.home / PROFILE
    before = file.read_bytes()
    said = await said_by_shell(terminal, f"ulimit -f 0; echo {KEY_TEXT} | {LOGIN}")
    assert (said.code, f"{file} cannot be made: File too large" in said.err) == (1, True), said.err
    assert [(one, one.read_bytes()) for one in file.parent.iterdir()] == [(file, before)]
