"""Every setting of every process, in one place: from the environment (``ORDERFLOW_*``), else a profile or ``.env``.

``docs/configuration.md`` is generated from this file: a field's description is its documentation.
Durations carry their unit in the name.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orderflow import peers, profiles, setting_sources, temporal_config, urls
from orderflow.connections import MOST_OF_A_PEER
from orderflow.issuers import Issuers
from orderflow.proxies import is_loopback
from orderflow.rates import Rate, server
from orderflow.secret_files import FiledSecret
from orderflow.temporal_config import TemporalConfig
from orderflow.tls import ServerContext, client_context
from orderflow_events.names import dead_letter_topic

Port = Annotated[int, Field(ge=1, le=65535)]
#: The three services, each with a database of its own.
Service = Literal["orders", "payments", "inventory"]
SERVICES: Final[tuple[Service, ...]] = ("orders", "payments", "inventory")
#: What a process is to a database; ``orderflow/database_roles.py`` says which database knows which.
DatabaseRole = Literal["api", "worker", "relay", "tracking", "operator", "reader", "keys", "codec"]
ENV_FILE: Final = ".env"
TEMPORAL_ADDRESS: Final = "localhost:7233"
#: RFC 6454 6.2, as browsers write it.
_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?")


def unread() -> list[str]:
    """What the environment or ``.env`` sets in our name, and nothing reads: a sentence for each, with what is like it.

    A chosen profile refuses such a variable. Raises ProfileError where ``.env`` cannot be read.
    """
    prefix = Settings.model_config["env_prefix"]
    known = {f"{prefix}{name}".upper() for name in setting_sources.names(Settings)}
    # Also with a profile, which is read instead: pydantic opens the file all the same.
    file: Mapping[str, str | None] = profiles.variables_in(Path(ENV_FILE), "the settings")
    if f"{prefix}PROFILE" in os.environ:
        file = {}
    complaints = []
    for where, variables in (("the environment", os.environ), (ENV_FILE, file)):
        for variable in sorted(variables):
            if variable.upper().startswith(prefix) and variable.upper() not in known:
                complaints.append(f"{variable} in {where} is no setting{profiles.hint(variable, known)}")
    return complaints


def _destination(traces: str) -> str:
    if traces in ("off", "file"):
        return traces
    if not traces.startswith(("http://", "https://")):
        raise ValueError("it is neither off nor file nor the URL of a collector, http:// or https://")
    if traces.rstrip("/").endswith("/v1/traces"):
        raise ValueError("the collector's URL goes without /v1/traces, which is added")
    return urls.check(traces, urls.HTTP)


def _database_url(url: SecretStr) -> SecretStr:
    urls.check(url.get_secret_value(), urls.POSTGRES)
    return url


def _limits_url(url: SecretStr) -> SecretStr:
    server(url.get_secret_value())
    return url


def _http_url(url: str) -> str:
    return urls.check(url, urls.HTTP)


def _api_url(url: str) -> str:
    return url if urls.is_word(url) else _http_url(url)  # a word is refused, and named, by who calls the API


def _networks(text: str) -> str:
    peers.networks(text)
    return text


def _origins(text: str) -> str:
    for origin in _list(text):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin such as https://shop.example, in lower case and without a path")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _temporal(given: Mapping[str, Any]) -> TemporalConfig:
    """What Temporal's own configuration says of the server that the settings before lead to."""
    if not given.get("temporal_envconfig"):
        return TemporalConfig()
    said = temporal_config.read()
    return said.of_server(given["temporal_address"]) if "temporal_address" in given else said


Secret = Annotated[SecretStr, BeforeValidator(setting_sources.from_file)]
LimitsUrl = Annotated[Secret, AfterValidator(_limits_url)]
DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseSettings):
    """All settings. Construct it once, in an entry point, and hand the parts to who needs them.

    Raises ValidationError, and ProfileError where the chosen profile is not there or sets what is no setting.
    """

    model_config = SettingsConfigDict(
        env_prefix="ORDERFLOW_",
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # a value may be a password
    )

    # --- Profile ---
    profile: str | None = Field(
        None,
        description="A profile that is read instead of `.env`: the file `.env.NAME` here, or "
        "`~/.config/orderflow/NAME.env`. `orderflow --profile NAME` comes first.",
    )

    # --- Postgres: three services, three databases; one server by default, anywhere by three URLs ---
    orders_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://orders@localhost:5432/orders"),
        description="The orders database, for every process that has no URL of its own below.",
    )
    payments_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://payments@localhost:5432/payments"), description="The same for the payments database."
    )
    inventory_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://inventory@localhost:5432/inventory"),
        description="The same for the inventory database.",
    )
    orders_api_database_url: DatabaseUrl | None = Field(
        None, description="The orders database as the API's role, which may do the API's work only (docs/roles.md)."
    )
    orders_worker_database_url: DatabaseUrl | None = Field(None, description="As the role of the orders workers.")
    orders_relay_database_url: DatabaseUrl | None = Field(
        None, description="As the relay's role; for `orderflow outbox republish` and `unpark` too."
    )
    orders_tracking_database_url: DatabaseUrl | None = Field(
        None, description="As the role of the tracking; for `orderflow dlq` too."
    )
    orders_operator_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who intervenes: `orderflow order cancel`, `nudge`, `reset`, reconciliation."
    )
    orders_reader_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who looks: `orderflow explain`, `stuck`, `doctor`, `demo`, `outbox status`."
    )
    orders_keys_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who makes and ends API keys: `orderflow keys`."
    )
    orders_codec_database_url: DatabaseUrl | None = Field(
        None, description="As the role of the codec server, which reads who may use it and writes down what it opened."
    )
    payments_worker_database_url: DatabaseUrl | None = Field(
        None, description="The payments database as the role of the payments workers."
    )
    payments_relay_database_url: DatabaseUrl | None = Field(None, description="As the relay's role.")
    payments_operator_database_url: DatabaseUrl | None = Field(None, description="As the role of the reconciliation.")
    payments_reader_database_url: DatabaseUrl | None = Field(None, description="As the role of who looks.")
    inventory_api_database_url: DatabaseUrl | None = Field(
        None, description="The inventory database as the API's role: stock, and no reservations."
    )
    inventory_worker_database_url: DatabaseUrl | None = Field(None, description="As the role of the inventory workers.")
    inventory_relay_database_url: DatabaseUrl | None = Field(None, description="As the relay's role.")
    inventory_operator_database_url: DatabaseUrl | None = Field(None, description="As the role of the reconciliation.")
    inventory_reader_database_url: DatabaseUrl | None = Field(None, description="As the role of who looks.")
    orders_database_direct_url: DatabaseUrl | None = Field(
        None,
        description="Where the orders database is behind a pooler in transaction mode (PgBouncer): the server's own "
        "address, for LISTEN. No statement is kept prepared then. `orderflow setup` needs the server's own, too.",
    )
    payments_database_direct_url: DatabaseUrl | None = Field(None, description="The same for the payments database.")
    inventory_database_direct_url: DatabaseUrl | None = Field(None, description="The same for the inventory database.")
    orders_admin_url: DatabaseUrl | None = Field(
        None,
        description="For `orderflow setup` only: a role on the orders server that may create roles and databases.",
    )
    payments_admin_url: DatabaseUrl | None = Field(
        None, description="The same for the payments server. Default: the orders one."
    )
    inventory_admin_url: DatabaseUrl | None = Field(
        None, description="The same for the inventory server. Default: the orders one."
    )
    database_processes: PositiveInt = Field(
        3,
        description="For `orderflow setup`: how many processes of one kind (APIs, orders workers …) may have their "
        "whole pool connected at once. Each role's connections are limited to that.",
    )
    database_server_is_shared: bool = Field(
        True,
        description="For `orderflow setup`: others have databases on the same servers. `false`: they are OrderFlow's "
        "alone, and no role may connect to `postgres` and `template1` unless it is granted.",
    )
    database_pool_size: PositiveInt = Field(8, description="Connections of one process to one database, at most.")
    database_command_timeout_seconds: PositiveFloat = Field(
        4.0, description="A statement that takes longer is given up (and repeated). Below the activities' 5 s."
    )
    migrations_dir: Path = Field(Path("migrations"), description="Where the SQL migrations are.")

    # --- Temporal ---
    temporal_envconfig: bool = Field(
        True,
        description="Whether Temporal's own configuration is asked where a setting of this section is not given: the "
        "variables `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS…`, and `temporal.toml`.",
    )
    temporal_address: str = Field(
        default_factory=lambda given: _temporal(given).address or TEMPORAL_ADDRESS,
        description="Temporal's gRPC front end. Default: Temporal's own configuration, else `localhost:7233`.",
    )
    temporal_namespace: str = Field(
        default_factory=lambda given: _temporal(given).namespace or "default",
        description="Temporal namespace. Default: Temporal's own configuration, else `default`.",
    )
    temporal_tls: bool = Field(
        False,
        description="TLS to Temporal. Always on when one of the files below is set, or an API key; with a key, `false` "
        "counts for a server on this machine only.",
    )
    temporal_tls_ca_file: FilePath | None = Field(
        None, description="Who signed the server's certificate (PEM). Default: the system's authorities."
    )
    temporal_tls_cert_file: FilePath | None = Field(
        None, description="Our certificate, for mutual TLS (PEM); with its key."
    )
    temporal_tls_key_file: FilePath | None = Field(None, description="The key of our certificate (PEM).")
    temporal_tls_server_name: str | None = Field(
        None, description="The name in the server's certificate, where it is not the one in the address."
    )
    temporal_api_key: Secret | None = Field(None, description="API key, for Temporal Cloud.")
    temporal_ui_url: HttpUrl = Field("http://localhost:8233", description="The Web UI, for links.")
    temporal_compression: bool = Field(
        False, description="gzip on gRPC. Costs 5-10 % CPU to a near server; worth it to a far one."
    )

    payload_keyring_file: Path | None = Field(
        None,
        description="The keys that everything in Temporal is sealed with, made by `orderflow payload-keys create`: for "
        "the API, all workers, and whoever explains or replays orders. Without it what steps are given and what they "
        "answer lies in Temporal as it is (the payment token is sealed all the same), and the record "
        "of a place has a hash of its token that was made without a key.",
    )

    payload_plain: Literal["refuse", "take"] = Field(
        "refuse",
        description="With a keyring, whether a step also does what it is asked in clear. `take` it while the keyring "
        "is turned on, until what was asked before is done: meanwhile, who may start workflows may ask for a capture.",
    )

    # --- Kafka ---
    kafka_bootstrap_servers: str = Field("localhost:9092", description="Comma-separated brokers.")
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
    kafka_retention_hours: PositiveInt = Field(168, description="How long the topic keeps a record.")

    # --- Payment gateway ---
    gateway_url: HttpUrl = Field("http://localhost:8090", description="The payment gateway (here: the simulator).")
    gateway_timeout_seconds: PositiveFloat = Field(5.0, description="For one gateway call, connecting included.")

    # --- HTTP API ---
    api_host: str = Field("127.0.0.1", description="Where the API listens. Beyond loopback, with TLS.")
    api_authentication: Literal["on", "off"] = Field(
        "on",
        description="Who calls the API must have a key (`orderflow keys create`). `off`: whoever reaches it may do "
        "everything; it listens on loopback alone then.",
    )
    deployment: Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")] = Field(
        "dev", description="A short name of this deployment, a-z 0-9: it stands in API keys, so that people see whose."
    )
    api_key: Secret | None = Field(None, description="The API key with which the CLI calls the API.")
    api_key_file: Path | None = Field(
        None, description="A file with that key, or with the line `Authorization: Bearer KEY`; instead of the above."
    )
    oidc_issuers: Annotated[Issuers, NoDecode] = Field(
        (),
        description="Issuers whose access tokens (JWT, RFC 9068) the API takes beside API keys, 8 at most, as JSON: "
        '`[{"issuer": "https://id.example", "audience": "orderflow"}]`; also `jwks_url` (default: what the issuer\'s '
        "`/.well-known/openid-configuration` says), `customer_claim` (default: `customer_id`) and `scopes`, the most "
        "that its tokens may give (default: all).",
    )
    api_limit_reads: Rate = Field(
        "120000/minute",
        description="Reads of one principal; more are answered 429. Such as `600/minute`, `10/5 seconds`; `off`.",
    )
    api_limit_writes: Rate = Field("120000/minute", description="The same for its writes: POST and PUT.")
    api_limit_anonymous: Rate = Field(
        "6000/minute",
        description="Requests without a principal from one address (IPv6: from one /64), health checks left out.",
    )
    api_limit_failed_authentications: Rate = Field(
        "1000/minute",
        description="Keys and tokens that are not good, from one address. Beyond, keys that this process does not "
        "remember are not looked up for it.",
    )
    api_limit_declines: Rate = Field(
        "30/hour",
        description="Declined payments of one principal for one customer. Beyond, it places and approves no orders "
        "for that customer: somebody tests stolen cards.",
    )
    api_limit_handovers: int = Field(
        100_000,
        ge=0,
        description="Orders of one principal that Temporal has not been told of, while it is away or behind. Beyond, "
        "the principal approves and ships nothing until they are fewer; others go on. 0: no limit.",
    )
    api_limits_url: LimitsUrl | None = Field(
        None,
        description="A server that speaks Redis' protocol, `valkey://`, `redis://` (`valkeys://`, `rediss://` by TLS), "
        "on which the API's processes count together. Default, and while it is away: each by itself.",
    )
    api_port: Port = Field(8080, description="Where the API listens.")
    api_url: Annotated[str, AfterValidator(_api_url)] = Field(
        "http://localhost:8080", description="Where the CLI finds the API."
    )
    api_root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = Field(
        "",
        description="The path prefix under which a proxy shows the API, such as `/shop`, and which it takes off before "
        "it asks: links lead there. Default: what the proxy says in `X-Forwarded-Prefix`.",
    )
    api_hosts: str | None = Field(
        None,
        description="The names under which the API is asked, comma-separated: another `Host` is answered 421. Those of "
        "loopback always are, and `/health/` is answered under any. Default: the host of `ORDERFLOW_API_URL`, and "
        "`ORDERFLOW_API_HOST`.",
    )
    api_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "",
        description="Pages of other origins that may call the API from a browser (CORS), comma-separated, such as "
        "`https://shop.example`. Every other page is answered 403.",
    )
    api_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="Addresses and networks of the proxies before the API, comma-separated, such as `10.1.0.0/16`: "
        "from them alone `X-Forwarded-For`, `-Proto` and `-Prefix` are believed.",
    )
    api_connections_per_peer: PositiveInt = Field(
        MOST_OF_A_PEER,
        description="Connections of one IPv4 address, or of one IPv6 network (/64), at once; not those of "
        "`ORDERFLOW_API_PROXIES`.",
    )
    api_docs: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether there is `/docs`. `auto`: where the API listens on loopback alone."
    )
    api_wait_seconds: Annotated[float, Field(ge=0, le=60)] = Field(
        2.0, description="How long a ship waits for its capture before it is answered 202, unless `Prefer` says."
    )
    api_temporal_timeout_seconds: PositiveFloat = Field(
        1.5, description="How long the API tries to tell Temporal of a command; then a dispatcher does."
    )

    # --- TLS of what listens ---
    tls_cert_file: FilePath | None = Field(
        None,
        description="The certificate of what this process serves: the API, a worker's health and metrics, the codec "
        "server (PEM, with the authorities between); with its key. Read again when it changes. Default: no TLS.",
    )
    tls_key_file: FilePath | None = Field(None, description="The key of that certificate (PEM, not encrypted).")
    tls_client_ca_file: FilePath | None = Field(
        None, description="Only clients with a certificate that this authority signed are let in (PEM)."
    )

    # --- Codec server ---
    codec_host: str = Field("127.0.0.1", description="Where `orderflow codec` listens.")
    codec_port: Port = Field(8096, description="Its port.")
    codec_authentication: Literal["bearer", "off"] = Field(
        "bearer",
        description="`bearer`: who reads payloads in the Web UI has the scope `operate`. `off`: everybody on this "
        "machine reads them; it listens on loopback only then.",
    )

    # --- Workers ---
    steps: Literal["near", "far"] = Field(
        "near",
        description="Where the steps of payment and inventory run. `near`: in the orders worker first, once, where its "
        "process has that role too, and on the service's task queue if that gives no answer. `far`: on the task queue "
        "only, as where services are deployed apart. A run keeps what its first look found.",
    )
    token_private_key_file: Path | None = Field(
        None,
        description="The payments role's private keys for payment tokens (PEM, X25519, PKCS 8; several one behind the "
        "other while old ones are needed). Default: `keys/payment-tokens.pem` in the data folder.",
    )
    token_public_key_file: Path | None = Field(
        None,
        description="What the API seals payment tokens with (PEM, X25519). Default: `keys/payment-tokens.pub.pem` in "
        "the data folder. `orderflow setup` makes the pair where there is none.",
    )
    draft_ttl_seconds: PositiveInt = Field(86_400, description="A DRAFT order that is older expires.")
    worker_max_cached_workflows: PositiveInt = Field(
        1000, description="Above the number of orders in flight, or every step replays the order's history."
    )
    worker_max_concurrent_activities: PositiveInt = Field(50, description="Remote steps at once, per task queue.")
    worker_sticky_timeout_seconds: PositiveFloat = Field(
        2.0, description="How long a dead worker's cached orders wait before another worker takes them."
    )
    worker_graceful_shutdown_seconds: PositiveFloat = Field(30.0, description="Time for running steps at SIGTERM.")
    health_host: str = Field(
        "127.0.0.1",
        description="Where a process answers `/health/live`, `/health/ready` (with each of its parts) and `/metrics`: "
        "a private network, as nobody is asked who they are. The API has another port for it than for its clients.",
    )
    health_port: int = Field(0, ge=0, le=65535, description="The port for that; 0: none, and no metrics.")

    # --- Relay and tracking ---
    relay_pacing_seconds: float = Field(
        0.05, ge=0, description="Least time between two rounds of the relay: batches under load."
    )
    relay_lease_seconds: PositiveFloat = Field(5.0, description="A relay that is silent this long loses the lead.")
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
    tracking_pacing_seconds: float = Field(0.05, ge=0, description="The same for the tracking consumer.")

    # --- Reconciliation ---
    reconcile_interval_seconds: Annotated[int, Field(ge=0)] = Field(
        300, description="How often the reconciliation worker compares everything, by a Temporal Schedule; 0: never."
    )
    reconcile_repair: bool = Field(
        False, description="Whether a scheduled reconciliation also repairs what has a safe repair, or only reports."
    )
    reconcile_older_than_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="Only what has been wrong for longer is reported: nothing in motion is."
    )
    reconcile_stuck_seconds: PositiveFloat = Field(
        900.0,
        description="An order that waits longer for a service of ours (APPROVED, a capture), or for Temporal to be "
        "told of it, is reported.",
    )
    reconcile_waiting_hours: PositiveFloat = Field(
        72.0, description="An order that waits longer to be shipped, or to be completed, is reported."
    )
    reconcile_authorization_age_hours: PositiveFloat = Field(
        144.0, description="An authorization older than this is reported: most lapse after 7 days."
    )
    reconcile_outbox_seconds: PositiveFloat = Field(
        300.0, description="Events that wait longer for the relay are reported."
    )
    reconcile_window_hours: PositiveFloat = Field(
        72.0,
        description="Captures and closed workflows are compared when they are younger than this; live ones always.",
    )

    tracking_idle_seconds: float = Field(
        0.0,
        ge=0,
        description="First pause between two looks at an idle topic (it grows to 0.25 s), for a broker that answers an "
        "empty fetch at once "
        "(noida-db). 0: the broker holds the fetch, as Kafka does.",
    )

    # --- Logs ---
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )

    # --- Traces ---
    traces: Annotated[str, AfterValidator(_destination)] = Field(
        "off",
        description="Where OpenTelemetry traces go: `off`; `file`: OTLP as JSON lines, `traces/*.jsonl` in the data "
        "folder; or the URL of an OTLP/HTTP collector, such as `http://localhost:4318`, without `/v1/traces`.",
    )
    traces_sample_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="Share of requests that are traced, unless their `traceparent` says whether they are."
    )

    # --- Metrics ---
    metrics: bool = Field(
        True,
        description="Whether a process counts, and serves Prometheus metrics at `/metrics`, beside its health "
        "endpoint (`ORDERFLOW_HEALTH_PORT`).",
    )

    # --- Embedded stack (development and tests) ---
    data_dir: Path = Field(Path(".orderflow"), description="Where `orderflow up` keeps data, logs and its state.")
    stack_split_workers: bool = Field(
        False, description="One process per task queue. One process for all is 25 % faster on two cores."
    )
    stack_kafka: Literal["noida", "apache"] = Field(
        "noida", description="The embedded broker: noida-db, or Apache Kafka where Java and Maven are there."
    )
    stack_decline_rate: float = Field(
        0.0, ge=0, le=1, description="Share of authorizations that the gateway simulator declines."
    )

    @model_validator(mode="after")
    def _texts_are_text(self) -> Self:
        """Bytes of the environment that are no text come as surrogates, which nobody could send or print."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if any("\ud800" <= character <= "\udfff" for character in str(value or "")):
                raise ValueError(f"ORDERFLOW_{name.upper()}: it is not text in UTF-8")
        return self

    @model_validator(mode="after")
    def _tls_files_work(self) -> Self:
        """A certificate is of no use without its key, nor files to a connection that is not encrypted."""
        password = self.kafka_ssl_key_password.get_secret_value() if self.kafka_ssl_key_password else None
        for prefix, ca, cert, key, opens in (
            (
                "ORDERFLOW_TEMPORAL_TLS",
                self.temporal_tls_ca_file,
                self.temporal_tls_cert_file,
                self.temporal_tls_key_file,
                None,
            ),
            (
                "ORDERFLOW_KAFKA_SSL",
                self.kafka_ssl_ca_file,
                self.kafka_ssl_cert_file,
                self.kafka_ssl_key_file,
                password,
            ),
        ):
            if (cert is None) != (key is None):
                given, lacking = ("CERT", "KEY") if key is None else ("KEY", "CERT")
                raise ValueError(f"{prefix}_{given}_FILE is set, and {prefix}_{lacking}_FILE is not")
            if ca or cert:
                client_context(prefix, ca, cert, key, opens)
        if (self.kafka_ssl_ca_file or self.kafka_ssl_cert_file) and "SSL" not in self.kafka_security_protocol:
            raise ValueError("ORDERFLOW_KAFKA_SSL_*_FILE is set, and ORDERFLOW_KAFKA_SECURITY_PROTOCOL is not SSL")
        return self

    @model_validator(mode="after")
    def _tls_can_be_served(self) -> Self:
        """What listens has certificate and key, or neither."""
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given, lacking = ("CERT", "KEY") if self.tls_key_file is None else ("KEY", "CERT")
            raise ValueError(f"ORDERFLOW_TLS_{given}_FILE is set, and ORDERFLOW_TLS_{lacking}_FILE is not")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("ORDERFLOW_TLS_CLIENT_CA_FILE is set, and ORDERFLOW_TLS_CERT_FILE is not")
        self.server_context()
        return self

    @model_validator(mode="after")
    def _codec_is_not_open_to_others(self) -> Self:
        """Who reaches a codec server without authentication reads everything in Temporal."""
        if self.codec_authentication == "off" and not is_loopback(self.codec_host):
            raise ValueError("ORDERFLOW_CODEC_AUTHENTICATION is off, and ORDERFLOW_CODEC_HOST is not loopback")
        return self

    @model_validator(mode="after")
    def _nobody_is_let_in_from_afar(self) -> Self:
        """Without authentication, only this machine may reach the API."""
        if self.api_authentication == "off" and not is_loopback(self.api_host):
            raise ValueError(
                f"ORDERFLOW_API_AUTHENTICATION is off, and ORDERFLOW_API_HOST is {self.api_host}: without "
                "authentication the API listens on loopback alone"
            )
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A chosen profile instead of ``.env``; a caller that names another file, or none, gets that."""
        usual = isinstance(dotenv_settings, DotEnvSettingsSource) and dotenv_settings.env_file == ENV_FILE
        if usual and (name := init_settings().get("profile") or env_settings().get("profile")):
            allowed = setting_sources.names(cls) - {"profile"}
            chosen = profiles.read(str(name), allowed, cls.model_config["env_prefix"])
            dotenv_settings = DotEnvSettingsSource(settings_cls, env_file=chosen)
        elif usual and dotenv_settings().get("profile"):
            raise profiles.ProfileError(f"{ENV_FILE} cannot choose a profile: export ORDERFLOW_PROFILE, or --profile")
        environment, file = setting_sources.SecretFiles(env_settings), setting_sources.SecretFiles(dotenv_settings)
        return init_settings, environment, env_settings, file, dotenv_settings, file_secret_settings

    def server_context(self) -> ServerContext | None:
        """TLS of what this process serves; None: it serves without. Raises ValueError where a file cannot be used."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return ServerContext(self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)

    @property
    def token_private_key(self) -> Path:
        """The file with the private keys for payment tokens."""
        return self.token_private_key_file or self.data_dir / "keys" / "payment-tokens.pem"

    @property
    def token_public_key(self) -> Path:
        """The file with the public key for payment tokens."""
        return self.token_public_key_file or self.data_dir / "keys" / "payment-tokens.pub.pem"

    @property
    def temporal_config(self) -> TemporalConfig:
        """What Temporal's own configuration says of the server at ``temporal_address``. Raises TemporalConfigError."""
        return _temporal({"temporal_envconfig": self.temporal_envconfig, "temporal_address": self.temporal_address})

    def listed(self, name: str) -> tuple[str, ...]:
        """The parts of a comma-separated setting, such as ``api_hosts``."""
        return _list(getattr(self, name) or "")

    @property
    def shows_docs(self) -> bool:
        """Whether the API has ``/docs``."""
        return self.api_docs == "on" or (self.api_docs == "auto" and is_loopback(self.api_host))

    def address(self, name: str) -> str:
        """Where a server is: the setting ``name``, such as ``kafka_bootstrap_servers``.

        Raises NoAddress where a profile is chosen and does not say: the default is a server of this machine, which
        nobody means who works on another stack.
        """
        value = getattr(self, name)
        text: str = value.get_secret_value() if isinstance(value, SecretStr) else value
        if self.profile and name not in self.model_fields_set and text == self._default_address(name):
            raise profiles.NoAddress(
                f"profile {self.profile} does not set {self.model_config['env_prefix']}{name.upper()}, which this needs"
            )
        return text

    @classmethod
    def _default_address(cls, name: str) -> str:
        default = cls.model_fields[name].default
        if name == "temporal_address":
            return TEMPORAL_ADDRESS
        return default.get_secret_value() if isinstance(default, SecretStr) else str(default)

    def database_direct_url(self, service: Service, role: DatabaseRole | None = None) -> str | None:
        """The server's own address, where ``database_url`` is a pooler's in transaction mode; else None."""
        url: SecretStr | None = getattr(self, f"{service}_database_direct_url")
        if url is None:
            return None
        own = self._own_url(service, role)
        return url.get_secret_value() if own is None else urls.as_user_of(own, url.get_secret_value())

    def database_url(self, service: Service, role: DatabaseRole | None = None) -> str:
        """The database of ``service`` as ``role``; without one, or where it has no URL of its own, as the service's.

        Raises NoAddress, as ``address`` does.
        """
        return self._own_url(service, role) or self.address(f"{service}_database_url")

    def database_variable(self, service: Service, role: DatabaseRole | None = None) -> str:
        """The name of the setting that ``database_url`` gives."""
        own = f"{role}_" if self._own_url(service, role) is not None else ""
        return f"ORDERFLOW_{service}_{own}database_url".upper()

    def database_password(self, service: Service, role: DatabaseRole | None = None) -> Callable[[], str] | None:
        """What reads the password of ``database_url`` again, where it comes from a file; else None."""
        name = self.database_variable(service, role).removeprefix("ORDERFLOW_").lower()
        secret: SecretStr = getattr(self, name)
        if not isinstance(secret, FiledSecret):
            return None
        return lambda: unquote(urlsplit(secret.get_secret_value()).password or "")

    def has_own_url(self, service: Service, role: DatabaseRole) -> bool:
        """Whether ``role`` has a URL of its own."""
        return self._own_url(service, role) is not None

    def _own_url(self, service: Service, role: DatabaseRole | None) -> str | None:
        if role is None:
            return None
        url: SecretStr | None = getattr(self, f"{service}_{role}_database_url")
        return None if url is None else url.get_secret_value()
