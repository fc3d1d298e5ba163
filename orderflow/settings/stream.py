"""The stream: Kafka, the relay that fills it, and the tracking that reads it."""

from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, PositiveInt, model_validator

from orderflow.settings.certificates import check_client
from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import Brokers, PositiveSeconds, PositiveWholeHours, Seconds, Secret
from orderflow_events.names import dead_letter_topic


class StreamSettings(CommonSettings):
    """Kafka, relay and tracking."""

    # --- Kafka ---
    kafka_bootstrap_servers: Brokers = Field(
        "localhost:9092", description="Comma-separated brokers, each `host:port` (without a port: 9092)."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="Used with a SASL protocol."
    )
    kafka_sasl_username: str | None = Field(None, description="Used with a SASL protocol.")
    kafka_sasl_password: Secret | None = Field(None, description="Used with a SASL protocol.")
    kafka_ssl_ca_file: FilePath | None = Field(
        None, description="Who signed the brokers' certificates (PEM). Default: the system's authorities."
    )
    kafka_ssl_cert_file: FilePath | None = Field(
        None, description="Our certificate, for mutual TLS (PEM); with its key."
    )
    kafka_ssl_key_file: FilePath | None = Field(None, description="The key of our certificate (PEM).")
    kafka_ssl_key_password: Secret | None = Field(None, description="What that key is encrypted with.")
    kafka_topic: str = Field("order.events", description="The one stream that other teams consume.")
    kafka_partitions: PositiveInt = Field(
        12, description="Partitions of the topic. Chosen once: more would move live orders to other partitions."
    )
    kafka_replication_factor: PositiveInt = Field(1, description="3 in production.")
    kafka_min_insync_replicas: PositiveInt = Field(1, description="2 in production.")
    kafka_retention_hours: PositiveWholeHours = Field(168, description="How long the topic keeps a record.")

    # --- Relay and tracking ---
    relay_pacing_seconds: Seconds = Field(
        0.05, description="Least time between two rounds of the relay: batches under load."
    )
    relay_lease_seconds: Annotated[PositiveSeconds, Field(le=3600)] = Field(
        5.0, description="A relay that is silent this long loses the lead."
    )
    relay_batch_size: PositiveInt = Field(500, description="Outbox entries read at once.")
    tracking_group: str = Field(
        "order-tracking",
        description="Kafka consumer group of the tracking. Of A-Z a-z 0-9 . _ -, as the topic of its dead letters is "
        "named after it.",
    )
    tracking_instance: str | None = Field(
        None,
        description="A name for this member of the group, unlike any other's: a restart, also after kill -9, gets its "
        "partitions back at once. Needed with the small embedded broker, which waits for a killed member for ever.",
    )
    tracking_pacing_seconds: Seconds = Field(0.05, description="The same for the tracking consumer.")
    tracking_idle_seconds: Seconds = Field(
        0.0,
        description="First pause between two looks at an idle topic (it grows to 0.25 s), for a broker that answers an "
        "empty fetch at once "
        "(noida-db). 0: the broker holds the fetch, as Kafka does.",
    )

    @model_validator(mode="after")
    def _kafka_files_work(self) -> Self:
        """Files are of no use to a connection that is not encrypted."""
        check_client(
            "ORDERFLOW_KAFKA_SSL",
            self.kafka_ssl_ca_file,
            self.kafka_ssl_cert_file,
            self.kafka_ssl_key_file,
            self.kafka_ssl_key_password.get_secret_value() if self.kafka_ssl_key_password else None,
        )
        if (self.kafka_ssl_ca_file or self.kafka_ssl_cert_file) and "SSL" not in self.kafka_security_protocol:
            raise ValueError("ORDERFLOW_KAFKA_SSL_*_FILE is set, and ORDERFLOW_KAFKA_SECURITY_PROTOCOL is not SSL")
        return self

    @model_validator(mode="after")
    def _tracking_can_set_aside(self) -> Self:
        """The tracking's dead letters go to a topic that is named after these two."""
        dead_letter_topic(
            self.kafka_topic,
            self.tracking_group,
            topic_is="ORDERFLOW_KAFKA_TOPIC",
            group_is="ORDERFLOW_TRACKING_GROUP",
        )
        return self
