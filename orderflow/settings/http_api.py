"""The API, for who serves it and who calls it; the codec server; and TLS of all that listens."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, FilePath, PositiveInt, SecretStr, model_validator
from pydantic_settings import NoDecode

from orderflow import urls
from orderflow.proxies import is_loopback
from orderflow.rates import Rate, server
from orderflow.security.issuers import Issuers
from orderflow.security.tls import ServerContext
from orderflow.serving import peers
from orderflow.serving.connections import MOST_OF_A_PEER
from orderflow.settings.certificates import check_pair
from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import Port, PositiveSeconds, Seconds, Secret, http_url, parts

#: RFC 6454 6.2, as browsers write it.
_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?")


def _limits_url(url: SecretStr) -> SecretStr:
    server(url.get_secret_value())
    return url


def _api_url(url: str) -> str:
    return url if urls.is_word(url) else http_url(url)  # a word is refused, and named, by who calls the API


def _networks(text: str) -> str:
    peers.networks(text)
    return text


def _origins(text: str) -> str:
    for origin in parts(text):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin such as https://shop.example, in lower case and without a path")
    return text


LimitsUrl = Annotated[Secret, AfterValidator(_limits_url)]


class HttpApiSettings(CommonSettings):
    """The API, its limits, the codec server, and TLS of what listens."""

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
    api_wait_seconds: Annotated[Seconds, Field(le=60)] = Field(
        2.0, description="How long a ship waits for its capture before it is answered 202, unless `Prefer` says."
    )
    api_temporal_timeout_seconds: PositiveSeconds = Field(
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

    @model_validator(mode="after")
    def _tls_can_be_served(self) -> Self:
        """What listens has certificate and key, or neither."""
        check_pair("ORDERFLOW_TLS", self.tls_cert_file, self.tls_key_file)
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

    def server_context(self) -> ServerContext | None:
        """TLS of what this process serves; None: it serves without. Raises ValueError where a file cannot be used."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return ServerContext(self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)

    def listed(self, name: str) -> tuple[str, ...]:
        """The parts of a comma-separated setting, such as ``api_hosts``."""
        return parts(getattr(self, name) or "")

    @property
    def shows_docs(self) -> bool:
        """Whether the API has ``/docs``."""
        return self.api_docs == "on" or (self.api_docs == "auto" and is_loopback(self.api_host))
