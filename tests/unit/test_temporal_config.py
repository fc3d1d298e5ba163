"""Temporal's own configuration stands in where our settings say nothing, and never speaks for another server."""

import os
from pathlib import Path

import pytest
from temporalio.service import TLSConfig

from orderflow.settings import Settings
from orderflow.temporal.client import _tls
from orderflow.temporal_config import TemporalConfigError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is configured but by the test."""
    for name in os.environ:
        if name.startswith(("ORDERFLOW_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> Path:
    file = home / "temporalio" / "temporal.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def test_without_any_it_is_this_machines() -> None:
    found = settings()
    assert (found.temporal_address, found.temporal_namespace) == ("localhost:7233", "default")


def test_variables_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ADDRESS": "cloud:7233", "NAMESPACE": "shop.a1", "API_KEY": "key"}.items():
        monkeypatch.setenv(f"TEMPORAL_{name}", value)
    found = settings()
    assert (found.temporal_address, found.temporal_namespace) == ("cloud:7233", "shop.a1")
    assert (found.temporal_config.api_key, found.temporal_config.tls) == ("key", True)
    assert found.temporal_config.where("address") == "TEMPORAL_ADDRESS"
    assert "key" not in repr(found.temporal_config).replace("api_key", "")


def test_the_file_stands_in_and_variables_come_before_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(
        home,
        '[profile.default]\naddress = "file:7233"\nnamespace = "of-file"\n'
        '[profile.default.tls]\nserver_name = "temporal.example"\n[profile.other]\naddress = "other:7233"\n',
    )
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "of-variable")
    found = settings()
    assert (found.temporal_address, found.temporal_namespace) == ("file:7233", "of-variable")
    assert found.temporal_config.where("address") == f"{file}, profile default"
    assert isinstance(found.temporal_config.tls, TLSConfig)
    assert found.temporal_config.tls.domain == "temporal.example"
    monkeypatch.setenv("TEMPORAL_PROFILE", "other")
    assert settings().temporal_address == "other:7233"


@pytest.mark.parametrize("address", ["u:S3cr3t@cloud:7233", "cloud", "cloud:99999", "cloud:1,cloud:2"])
def test_what_is_no_address_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(TemporalConfigError, match=r"^TEMPORAL_ADDRESS: the address: it is not host:port") as refused:
        settings()
    assert "cloud" not in str(refused.value)
    assert settings(temporal_address="ours:7233").temporal_address == "ours:7233"


def test_our_settings_come_first_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "cloud:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "theirs")
    monkeypatch.setenv("ORDERFLOW_TEMPORAL_NAMESPACE", "ours")
    assert (settings().temporal_address, settings().temporal_namespace) == ("cloud:7233", "ours")


def test_what_is_said_of_another_server_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for the one server would be shown to the other."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "cloud:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "theirs")
    monkeypatch.setenv("TEMPORAL_API_KEY", "key")
    found = settings(temporal_address="here:7233")
    assert (found.temporal_namespace, found.temporal_config.api_key, found.temporal_config.tls) == (
        "default",
        None,
        None,
    )
    assert settings(temporal_address="cloud:7233").temporal_config.api_key == "key"


def test_it_can_be_left_unread(home: Path) -> None:
    write(home, "not toml")
    found = settings(temporal_envconfig=False)
    assert (found.temporal_address, found.temporal_config.api_key) == ("localhost:7233", None)


def test_with_one_of_our_tls_settings_nothing_of_tls_comes_from_elsewhere() -> None:
    assert _tls(settings(), TLSConfig(domain="theirs"), has_key=False) == TLSConfig(domain="theirs")
    assert _tls(settings(temporal_tls=False), TLSConfig(domain="theirs"), has_key=False) is False
    assert _tls(settings(temporal_tls_server_name="ours"), True, has_key=False) == TLSConfig(domain="ours")
    assert _tls(settings(), None, has_key=True) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profile.default]\napi_key = s3cret", "line 2"),
        ('[profile.default]\naddress = 17\napi_key = "s3cret"', "expected a string"),
        ('[profile.default]\n[profile.default.tls]\nclient_cert_path = "a"\nclient_cert_data = "s3cret"', "both"),
        ('[profile.default]\napi_key = "s3cret\x00"', "temporal.toml line 2: it has a NUL byte"),
    ],
    ids=["syntax", "type", "rule", "NUL"],
)
def test_a_file_that_is_wrong_is_named_without_what_stands_in_it(home: Path, text: str, said: str) -> None:
    file = write(home, text)
    with pytest.raises(TemporalConfigError) as refused:
        settings()
    assert str(file) in str(refused.value)
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "17" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TEMPORAL_CONFIG_FILE", "/nowhere/temporal.toml", "there is no file /nowhere/temporal.toml"),
        ("TEMPORAL_PROFILE", "prod", "TEMPORAL_PROFILE is 'prod'"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/nowhere/cert.pem", "No such file or directory: /nowhere/cert.pem"),
    ],
)
def test_a_variable_that_leads_nowhere_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(TemporalConfigError, match="TEMPORAL_") as refused:
        settings()
    assert said in str(refused.value)


def test_a_profile_that_the_file_lacks_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, '[profile.default]\naddress = "file:7233"\n')
    monkeypatch.setenv("TEMPORAL_PROFILE", "prod")
    with pytest.raises(TemporalConfigError, match="Profile 'prod' not found"):
        settings()
