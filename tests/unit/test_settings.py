"""What the settings refuse before anything starts."""

import pytest
from pydantic import ValidationError

from orderflow.settings import Settings


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ORDERFLOW_TRACKING_GROUP", "team:billing", "ORDERFLOW_TRACKING_GROUP is 'team:billing', and must be of A-Z"),
        ("ORDERFLOW_TRACKING_GROUP", "", "ORDERFLOW_TRACKING_GROUP is '', and must be of A-Z"),
        ("ORDERFLOW_TRACKING_GROUP", "g" * 233, "ORDERFLOW_TRACKING_GROUP has 233 characters, and at most 232"),
        ("ORDERFLOW_KAFKA_TOPIC", "order events", "ORDERFLOW_KAFKA_TOPIC is 'order events', and must be of A-Z"),
    ],
)
def test_a_name_that_the_topic_of_dead_letters_cannot_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        *("", "localhost:abc", "localhost:99999", "localhost:0", "localhost:", ":7233", "::1", "a b:1", "a:1:2"),
        *("u:S3cr3t@127.0.0.1:1", "SASL_SSL://u:S3cr3t@h:1", "http://u:S3cr3t@h:1", "u:S3cr3t@h"),
    ],
)
@pytest.mark.parametrize("setting", ["TEMPORAL_ADDRESS", "KAFKA_BOOTSTRAP_SERVERS"])
def test_what_is_no_address_is_refused_without_its_value(
    monkeypatch: pytest.MonkeyPatch, setting: str, address: str
) -> None:
    monkeypatch.setenv(f"ORDERFLOW_{setting}", address)
    with pytest.raises(ValidationError, match=f"{setting.lower()}\n.*it is not host:port") as refused:
        Settings(_env_file=None)
    assert "S3cr3t" not in str(refused.value)


def test_addresses_are_names_or_numbers_and_kafka_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("temporal:7233", "127.0.0.1:1", "[::1]:65535", "my_temporal.example.com:443"):
        assert Settings(_env_file=None, temporal_address=address).temporal_address == address
    brokers = "kafka-1:9092, kafka-2, [::1]:9092,[::1]"
    assert Settings(_env_file=None, kafka_bootstrap_servers=brokers).kafka_bootstrap_servers == brokers
    for several in ("a:1,b:2", "a"):
        with pytest.raises(ValidationError, match="temporal_address"):
            Settings(_env_file=None, temporal_address=several)
    with pytest.raises(ValidationError, match="kafka_bootstrap_servers"):
        Settings(_env_file=None, kafka_bootstrap_servers="a:1,")


DURATIONS = sorted(name for name in Settings.model_fields if name.endswith(("_seconds", "_hours")))


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "1000000001", "-1"])
@pytest.mark.parametrize("name", DURATIONS)
def test_every_duration_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Python's clock ends with the year 9999, and neither Postgres nor Temporal knows an endless wait."""
    monkeypatch.setenv(f"ORDERFLOW_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None)


def test_the_longest_group_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_TRACKING_GROUP", "g" * 232)
    assert len(Settings(_env_file=None).tracking_group) == 232


def test_a_role_without_a_url_of_its_own_uses_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_ORDERS_DATABASE_URL", "postgresql://orders@pooler/orders")
    monkeypatch.setenv("ORDERFLOW_ORDERS_RELAY_DATABASE_URL", "postgresql://orders_relay@pooler/orders")
    monkeypatch.setenv("ORDERFLOW_ORDERS_DATABASE_DIRECT_URL", "postgresql://orders@server/orders")
    settings = Settings(_env_file=None)
    assert settings.database_url("orders", "api") == "postgresql://orders@pooler/orders"
    assert settings.database_direct_url("orders", "api") == "postgresql://orders@server/orders"
    assert settings.database_variable("orders", "api") == "ORDERFLOW_ORDERS_DATABASE_URL"
    assert settings.database_url("orders", "relay") == "postgresql://orders_relay@pooler/orders"
    assert settings.database_direct_url("orders", "relay") == "postgresql://orders_relay@server/orders"
    assert settings.database_variable("orders", "relay") == "ORDERFLOW_ORDERS_RELAY_DATABASE_URL"
