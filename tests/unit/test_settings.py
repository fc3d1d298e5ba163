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
