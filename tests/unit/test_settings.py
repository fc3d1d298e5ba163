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
