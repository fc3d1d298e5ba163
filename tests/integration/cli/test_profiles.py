"""`orderflow --profile`, `orderflow profile`, and what the shell completes."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from orderflow.profiles import ProfileError
from orderflow.settings import Settings
from orderflow.stack.environment import running_settings, write_environment
from orderflow.stack.records import Identity, Record
from orderflow.urls import shown as url_shown
from support.paths import ROOT
from support.terminal import Terminal


@pytest.fixture
def at_home(tmp_path: Path) -> Terminal:
    """In a folder with the profile `near`, with `far` and another `near` in the home."""
    home = tmp_path / "config" / "orderflow"
    home.mkdir(parents=True)
    (tmp_path / ".env").write_text("ORDERFLOW_KAFKA_TOPIC=of-env\n")
    (tmp_path / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near-topic\n")
    (home / "near.env").write_text("ORDERFLOW_KAFKA_TOPIC=shadowed\n")
    (home / "far.env").write_text(
        "ORDERFLOW_TEMPORAL_ADDRESS=far:7233\n"
        "orderflow_temporal_api_key=key-secret\n"
        "ORDERFLOW_ORDERS_DATABASE_URL='postgresql://orders:pass-secret@db:5432/orders?sslmode=require'\n"
    )
    (home / "not a name.env").write_text("")
    terminal = Terminal(tmp_path)
    terminal.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return terminal


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process in an empty folder, without settings in its environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in os.environ:
        if name.startswith("ORDERFLOW_"):
            monkeypatch.delenv(name)
    return tmp_path


def test_a_profile_is_read_instead_of_the_env_file_and_below_the_environment(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_folder / ".env").write_text("ORDERFLOW_KAFKA_TOPIC=of-env\nORDERFLOW_TRACKING_GROUP=of-env\n")
    (in_folder / ".env.near").write_text(
        "ORDERFLOW_KAFKA_TOPIC=near\nORDERFLOW_API_PORT=1\nORDERFLOW_LOG_LEVEL=debug\n"
    )
    assert Settings().kafka_topic == "of-env"
    monkeypatch.setenv("ORDERFLOW_PROFILE", "near")
    monkeypatch.setenv("ORDERFLOW_API_PORT", "2")
    near = Settings(log_level="error")
    assert (near.kafka_topic, near.tracking_group) == ("near", "order-tracking")
    assert (near.api_port, near.log_level, near.profile) == (2, "error", "near")
    assert Settings(_env_file=None).kafka_topic == "order.events"


def test_a_profile_never_leads_to_the_stack_that_runs_here(in_folder: Path) -> None:
    (in_folder / ".env.near").write_text("ORDERFLOW_API_URL=http://far\n")
    usual = Settings(data_dir=in_folder)
    write_environment(in_folder, usual.model_copy(update={"kafka_topic": "of-the-stack"}))
    Record(supervisor=Identity.of(os.getpid()), phase="running").write(in_folder / "stack.json")
    assert running_settings(usual).kafka_topic == "of-the-stack"
    near = running_settings(Settings(data_dir=in_folder, profile="near"))
    assert (near.kafka_topic, near.api_url) == ("order.events", "http://far")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ORDERFLOW_TEMPORAL_ADRESS=x", "ORDERFLOW_TEMPORAL_ADRESS is no setting of a profile; is it ORDERFLOW_TEMPO"),
        ("PATH=/bin", "PATH is no setting of a profile"),
        ("ORDERFLOW_PROFILE=far", "ORDERFLOW_PROFILE is no setting of a profile"),
        ("ORDERFLOW_API_PORT=many", "(profile near): ORDERFLOW_API_PORT: Input should be a valid integer"),
        ("ORDERFLOW_KAFKA_SSL_CA_FILE=none.pem", "ORDERFLOW_KAFKA_SSL_CA_FILE: Path does not point to a file"),
        (
            "ORDERFLOW_TEMPORAL_TLS_KEY_FILE=.env",
            "ORDERFLOW_TEMPORAL_TLS_KEY_FILE is set, and ORDERFLOW_TEMPORAL_TLS_C",
        ),
        ("ORDERFLOW_TEMPORAL_TLS_CA_FILE=.env", "ORDERFLOW_TEMPORAL_TLS_CA_FILE: .env cannot be used"),
    ],
    ids=lambda text: text.partition("=")[0],
)
async def test_a_profile_that_is_wrong_is_refused_by_name(at_home: Terminal, line: str, said: str) -> None:
    (at_home.home / ".env.near").write_text(f"{line}\n")
    refused = await at_home.run("--profile", "near", "stuck")
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


async def test_a_profile_that_is_not_there_is_refused_with_those_that_are(at_home: Terminal) -> None:
    for code, *arguments in ((2, "--profile", "nowhere", "stuck"), (4, "profile", "show", "../near")):
        said = await at_home.run(*map(str, arguments))
        assert said.code == code
        assert f"no profile {arguments[-1 if code == 4 else 1]!r}: there are far, near; one is a file" in said.err


def test_an_env_file_cannot_choose_a_profile(in_folder: Path) -> None:
    (in_folder / ".env").write_text("ORDERFLOW_PROFILE=near\n")
    with pytest.raises(ProfileError, match=r"\.env cannot choose a profile"):
        Settings()


async def test_profiles_are_listed_and_shown_without_their_secrets(at_home: Terminal) -> None:
    listed = json.loads((await at_home.run("--profile", "near", "profile", "list", "--json")).out)
    assert [(one["name"], one["chosen"]) for one in listed] == [("far", False), ("near", True)]
    assert listed[1]["file"] == str(at_home.home / ".env.near")
    at_home.env["ORDERFLOW_API_PORT"] = "81"
    far = await at_home.run("profile", "show", "far")
    assert far.code == 0
    assert "ORDERFLOW_TEMPORAL_ADDRESS                   far:7233  (profile far)" in far.out
    assert "ORDERFLOW_TEMPORAL_API_KEY                   ***  (profile far)" in far.out
    assert "postgresql://orders:***@db:5432/orders?sslmode=require  (profile far)" in far.out
    assert "ORDERFLOW_API_PORT                           81  (environment)" in far.out
    assert "KAFKA_TOPIC" not in far.out
    everything = await at_home.run("profile", "show", "far", "--all", "--json")
    settings = {row["setting"]: row for row in json.loads(everything.out)["settings"]}
    assert len(settings) == len(Settings.model_fields) - 1
    assert settings["ORDERFLOW_KAFKA_TOPIC"]["from"] == "default"
    assert "secret" not in far.out + everything.out
    now = json.loads((await at_home.run("profile", "show", "--json")).out)
    assert now["profile"] is None
    assert {"setting": "ORDERFLOW_KAFKA_TOPIC", "value": "of-env", "from": ".env"} in now["settings"]


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("postgresql://a:b@h/d", "postgresql://a:***@h/d"),
        ("postgresql://h/d?user=a&password=b&sslpassword=c", "postgresql://h/d?user=a&password=***&sslpassword=***"),
        ("postgresql://a:b:c@d@h:5/d", "postgresql://a:***@h:5/d"),
        ("postgresql://a@h/d?sslrootcert=/x.pem", "postgresql://a@h/d?sslrootcert=/x.pem"),
        ("postgresql://[a:b@h/d", "***"),
        ("key", "***"),
    ],
)
def test_a_secret_is_masked(secret: str, shown: str) -> None:
    assert url_shown(secret) == shown


async def test_the_shell_completes_commands_and_profiles(at_home: Terminal) -> None:
    """The script that typer gives, in a real bash, with `orderflow` on the path."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    folder = at_home.home / "bin"
    folder.mkdir()
    command = folder / "orderflow"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
    command.chmod(0o755)
    script = """
    eval "$(_ORDERFLOW_COMPLETE=source_bash orderflow)"
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _orderflow_completion orderflow; echo "${COMPREPLY[@]}"; }
    try orderflow --profile f
    try orderflow profile show ""
    try orderflow ou
    try orderflow order re
    """
    code = os.pathsep.join((str(ROOT), str(ROOT / "events")))
    child = await asyncio.create_subprocess_exec(
        *(bash, "-c", script),
        cwd=at_home.home,
        env={**at_home.env, "PYTHONPATH": code, "PATH": f"{folder}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, wrong = await asyncio.wait_for(child.communicate(), 60)
    assert told.decode().splitlines() == ["far", "far near", "outbox", "reset"], wrong.decode()


def sourced(file: Path) -> str:
    """What the one line of a shell's start file reads."""
    [line] = [line for line in file.read_text().splitlines() if line]
    return Path(line.removeprefix("source ").strip("'")).read_text()


async def test_the_completion_can_be_installed(at_home: Terminal) -> None:
    at_home.env |= {"HOME": str(at_home.home), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = await at_home.run("--show-completion", "bash")
    assert (shown.code, "_ORDERFLOW_COMPLETE=complete_bash" in shown.out) == (0, True)
    installed = await at_home.run("--install-completion", "bash")
    assert installed.code == 0, installed.err
    assert sourced(at_home.home / ".bashrc").strip() == shown.out.strip()


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [
        (("stuck",), "ORDERS_DATABASE_URL"),
        (("order", "explain", "0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11"), "ORDERS_DATABASE_URL"),
        (("outbox", "status"), "ORDERS_DATABASE_URL"),
        (("dlq", "list"), "ORDERS_DATABASE_URL"),
        (("reconcile",), "TEMPORAL_ADDRESS"),
        (("events", "tail"), "KAFKA_BOOTSTRAP_SERVERS"),
        (("lag",), "KAFKA_BOOTSTRAP_SERVERS"),
        (("replay", "--since", "1h"), "TEMPORAL_ADDRESS"),
        (("worker", "relay"), "KAFKA_BOOTSTRAP_SERVERS"),
        (("api",), "ORDERS_DATABASE_URL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_profile_that_names_the_api_alone_leads_to_no_server_of_this_machine(
    at_home: Terminal, arguments: tuple[str, ...], lacking: str
) -> None:
    (at_home.home / ".env.near").write_text("ORDERFLOW_API_URL=http://near.example\n")
    refused = await at_home.run("--profile", "near", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert f"profile near does not set ORDERFLOW_{lacking}, which this needs" in refused.err


async def test_a_profile_without_the_api_says_so_to_who_needs_it(at_home: Terminal) -> None:
    refused = await at_home.run("--profile", "near", "order", "list")
    assert (refused.code, "does not set ORDERFLOW_API_URL" in refused.err) == (2, True)


async def test_the_doctor_names_each_server_that_a_profile_lacks(at_home: Terminal) -> None:
    (at_home.home / ".env.near").write_text("ORDERFLOW_API_URL=http://127.0.0.1:9\n")
    examined = await at_home.run("--profile", "near", "doctor", "--json")
    details = " ".join(line["detail"] for line in json.loads(examined.out)["checks"])
    for setting in ("ORDERS_DATABASE_URL", "TEMPORAL_ADDRESS", "KAFKA_BOOTSTRAP_SERVERS", "GATEWAY_URL"):
        assert f"profile near does not set ORDERFLOW_{setting}" in details
    assert "localhost" not in details


async def test_where_temporals_address_comes_from_is_shown(at_home: Terminal) -> None:
    at_home.env |= {"TEMPORAL_ADDRESS": "127.0.0.1:9", "TEMPORAL_API_KEY": "key-secret"}
    shown = await at_home.run("profile", "show", "near")
    assert "ORDERFLOW_TEMPORAL_ADDRESS                   127.0.0.1:9  (TEMPORAL_ADDRESS)" in shown.out
    assert "ORDERFLOW_TEMPORAL_API_KEY                   ***  (TEMPORAL_API_KEY)" in shown.out
    examined = await at_home.run("doctor", "--json")
    [line] = [line for line in json.loads(examined.out)["checks"] if line["about"] == "Temporal"]
    assert "127.0.0.1:9, by TEMPORAL_ADDRESS" in line["detail"]
    assert "secret" not in shown.out + examined.out
    far = await at_home.run("profile", "show", "far")
    assert "far:7233  (profile far)" in far.out


async def test_a_temporal_toml_that_is_wrong_is_a_clear_error(at_home: Terminal) -> None:
    file = at_home.home / "temporal.toml"
    file.write_text("[profile.default]\napi_key = key-secret\n")
    at_home.env["TEMPORAL_CONFIG_FILE"] = str(file)
    refused = await at_home.run("stuck")
    assert (refused.code, refused.out) == (2, "")
    assert f"{file} is no temporal.toml: Invalid value (at line 2" in refused.err
    assert "secret" not in refused.err
