"""What a process of the stack is told, and what it is not."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orderflow.postgres.roles import OPENED_BY, ROLES
from orderflow.settings import Settings
from orderflow.stack.environment import as_environment, running_settings, urls_opened_by, write_environment
from orderflow.stack.probes import child_environment
from orderflow.stack.records import Identity, Record
from workers.roles import ROLES as WORKER_ROLES


def settings_from(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


def test_every_setting_arrives_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Settings(
        _env_file=None,
        orders_admin_url=SecretStr("postgresql://a"),
        stack_split_workers=True,
        relay_pacing_seconds=0.2,
        oidc_issuers=[{"issuer": "https://id.example", "audience": "orderflow", "scopes": ["orders:read"]}],
    )
    assert settings_from(as_environment(sent, admin=True), monkeypatch) == sent


def test_only_setup_gets_the_admin_url() -> None:
    settings = Settings(_env_file=None, orders_admin_url=SecretStr("postgresql://admin"))
    assert "ORDERFLOW_ORDERS_ADMIN_URL" not in as_environment(settings)


def test_a_process_gets_the_databases_of_its_roles_only() -> None:
    own: dict[str, Any] = {
        f"{service}_{role}_database_url": SecretStr(f"postgresql://{service}_{role}:x@db/{service}")
        for service, roles in ROLES.items()
        for role in roles
    }
    settings = Settings(_env_file=None, **own)
    relay = as_environment(settings, opens=urls_opened_by("relay", "tracking"))
    assert {name: value for name, value in relay.items() if "_DATABASE_URL" in name} == {
        "ORDERFLOW_ORDERS_RELAY_DATABASE_URL": "postgresql://orders_relay:x@db/orders",
        "ORDERFLOW_ORDERS_TRACKING_DATABASE_URL": "postgresql://orders_tracking:x@db/orders",
        "ORDERFLOW_PAYMENTS_RELAY_DATABASE_URL": "postgresql://payments_relay:x@db/payments",
        "ORDERFLOW_INVENTORY_RELAY_DATABASE_URL": "postgresql://inventory_relay:x@db/inventory",
    }
    assert not [name for name in as_environment(settings, opens=()) if "_DATABASE_URL" in name]


def test_every_process_is_known_and_opens_what_its_databases_know() -> None:
    assert {"api", "codec", *WORKER_ROLES} == set(OPENED_BY)
    for opened in OPENED_BY.values():
        assert all(role in ROLES[service] for service, role in opened)
        assert set(urls_opened_by(*OPENED_BY)) <= set(Settings.model_fields)


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
