"""Secrets in files: who may read them, what is refused, and that a new one is seen."""

import errno
import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from orderflow import setting_sources
from orderflow.security import secret_files
from orderflow.security.secret_files import FiledSecret, SecretFileError, read_secret, write_secret
from orderflow.settings import Settings, unread
from orderflow.stack.environment import ADMIN_FIELDS, as_environment
from support.paths import ROOT

URL = "postgresql://orders_api:first@localhost:5432/orders"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever they are asked for."""
    monkeypatch.setattr(secret_files, "_LOOK_SECONDS", 0.0)


def test_a_secret_is_written_for_its_owner_and_not_over_another(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secret"
    write_secret(path, "one")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SecretFileError, match="cannot be made"):
        write_secret(path, "other")
    write_secret(path, "other\n", replace=True)
    assert read_secret(path) == "other"


@pytest.mark.parametrize("replace", [True, False])
def test_a_secret_that_cannot_be_written_whole_leaves_what_there_was(
    tmp_path: Path, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    if replace:
        write_secret(path, "one")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SecretFileError, match=r"secret cannot be made: No space left"):
        write_secret(path, "other", replace=replace)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_secret_is_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(SecretFileError):
        write_secret(tmp_path / "link", "secret")
    assert not target.exists()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o641])
def test_a_secret_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text("hush")
    path.chmod(mode)
    with pytest.raises(SecretFileError, match=f"has mode {mode:04o}.*0600 or 0640") as refused:
        read_secret(path)
    assert "hush" not in str(refused.value)


def test_a_secret_is_read_through_a_link_and_by_its_group(tmp_path: Path) -> None:
    """As Kubernetes mounts it."""
    path = tmp_path / "secret"
    write_secret(path, "hush\n")
    path.chmod(0o440)
    (tmp_path / "link").symlink_to(path)
    assert read_secret(tmp_path / "link") == "hush"


def test_what_is_no_secrets_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    write_secret(tmp_path / "empty", " \n")
    write_secret(tmp_path / "long", "x" * (secret_files.MOST_BYTES + 1))
    for name, rule in (
        ("pipe", "is no regular file"),
        ("empty", "is empty"),
        ("long", "is longer than 16384 bytes"),
        ("nowhere", "No such file"),
        (".", "is no regular file"),
    ):
        with pytest.raises(SecretFileError, match=rule):
            read_secret(tmp_path / name)


def test_a_new_secret_is_seen_and_a_lost_one_changes_nothing(tmp_path: Path, at_once: None) -> None:
    path = tmp_path / "secret"
    write_secret(path, "one")
    secret = FiledSecret(path, "ORDERFLOW_X_FILE")
    assert secret.get_secret_value() == "one"
    write_secret(tmp_path / "next", "two")
    (tmp_path / "next").rename(path)
    assert secret.get_secret_value() == "two"
    path.unlink()
    assert secret.get_secret_value() == "two"
    assert "two" not in repr(secret)


@pytest.mark.parametrize("field", sorted(setting_sources.secrets(Settings)))
def test_each_secret_setting_may_be_a_file(tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "valkey://localhost" if field == "api_limits_url" else URL if field.endswith("_url") else "hush"
    variable = f"ORDERFLOW_{field.upper()}"
    write_secret(tmp_path / "it", f"{text}\n")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "it"))
    assert unread() == []
    settings = Settings(_env_file=None)
    if field == "api_key":  # a file that may be curl's: read when it is sent
        assert settings.api_key_file == tmp_path / "it"
    else:
        assert getattr(settings, field).get_secret_value() == text
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValidationError, match=f"{variable} and {variable}_FILE are both set"):
        Settings(_env_file=None)


def test_a_settings_file_may_name_a_secrets_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret(tmp_path / "it", URL)
    (tmp_path / "env").write_text(f"ORDERFLOW_ORDERS_DATABASE_URL_FILE={tmp_path / 'it'}\n")
    assert Settings(_env_file=tmp_path / "env").database_url("orders") == URL
    monkeypatch.setenv("ORDERFLOW_ORDERS_DATABASE_URL", URL.replace("first", "other"))
    assert "other" in Settings(_env_file=tmp_path / "env").database_url("orders")


def test_a_secrets_file_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "it").write_text("hush")
    (tmp_path / "it").chmod(0o644)
    monkeypatch.setenv("ORDERFLOW_KAFKA_SASL_PASSWORD_FILE", str(tmp_path / "it"))
    with pytest.raises(ValidationError, match=r"ORDERFLOW_KAFKA_SASL_PASSWORD_FILE: .*has mode 0644") as refused:
        Settings(_env_file=None)
    assert "hush" not in str(refused.value)


def test_a_url_in_a_file_is_checked_as_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(tmp_path / "it", "postgresql://a:b/c@db/orders")
    monkeypatch.setenv("ORDERFLOW_ORDERS_DATABASE_URL_FILE", str(tmp_path / "it"))
    with pytest.raises(ValidationError, match="read in one way only"):
        Settings(_env_file=None)


def test_the_password_of_a_database_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    path = tmp_path / "it"
    write_secret(path, URL)
    monkeypatch.setenv("ORDERFLOW_ORDERS_API_DATABASE_URL_FILE", str(path))
    settings = Settings(_env_file=None)
    password = settings.database_password("orders", "api")
    assert password is not None
    assert password() == "first"
    write_secret(path, URL.replace("first", "sec%2Fond"), replace=True)
    assert password() == "sec/ond"
    assert settings.database_password("orders", "worker") is None


def test_a_stack_hands_the_file_on_and_not_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(tmp_path / "it", "hush")
    monkeypatch.setenv("ORDERFLOW_TEMPORAL_API_KEY_FILE", str(tmp_path / "it"))
    given = as_environment(Settings(_env_file=None))
    assert given["ORDERFLOW_TEMPORAL_API_KEY_FILE"] == str(tmp_path / "it")
    assert "hush" not in given.values()
    given = as_environment(Settings(_env_file=None, temporal_api_key=SecretStr("x")))
    assert given["ORDERFLOW_TEMPORAL_API_KEY"] == "x"


def test_the_page_of_the_settings_names_every_secret_that_may_be_in_a_file() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = page.partition("## Secrets in files")[2].partition("\n## ")[0]
    of_databases = {name for name in setting_sources.secrets(Settings) if name.endswith(("database_url", "direct_url"))}
    others = setting_sources.secrets(Settings) - of_databases - ADMIN_FIELDS
    assert {name for name in others if f"`ORDERFLOW_{name.upper()}`" not in section} == set()
