"""What a process of the stack is told, and what it is not."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from orderflow.settings import Settings
from orderflow.stack.environment import as_environment, running_settings, write_environment
from orderflow.stack.probes import child_environment
from orderflow.stack.records import Identity, Record


def settings_from(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def test_every_setting_arrives_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Settings(
        _env_file=None, orders_admin_url=SecretStr("postgresql://a"), stack_split_workers=True, relay_pacing_seconds=0.2
    )
    assert settings_from(as_environment(sent, admin=True), monkeypatch) == sent


def test_only_setup_gets_the_admin_url() -> None:
    settings = Settings(_env_file=None, orders_admin_url=SecretStr("postgresql://admin"))
    assert "ORDERFLOW_ORDERS_ADMIN_URL" not in as_environment(settings)


def test_a_child_does_not_inherit_what_would_steer_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORDERFLOW_KAFKA_TOPIC", "PGHOST", "TEMPORAL_ADDRESS", "DATABASE_URL"):
        monkeypatch.setenv(name, "elsewhere")
    assert "elsewhere" not in child_environment({"ORDERFLOW_API_PORT": "1"}).values()


def test_a_command_in_another_terminal_finds_the_running_stack(tmp_path: Path) -> None:
    here = Settings(_env_file=None, data_dir=tmp_path)
    write_environment(tmp_path, here.model_copy(update={"api_url": "http://127.0.0.1:1", "kafka_topic": "theirs"}))
    assert running_settings(here) == here, "no stack runs there"
    Record(supervisor=Identity.of(os.getpid()), phase="running").write(tmp_path / "stack.json")
    chosen = Settings(_env_file=None, data_dir=tmp_path, kafka_topic="mine")
    assert running_settings(chosen).api_url == "http://127.0.0.1:1"
    assert running_settings(chosen).kafka_topic == "mine", "what was set explicitly stays"
