"""Temporal: where it is, how to get in, and what everything in it is sealed with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, FilePath, model_validator

from orderflow import temporal_config, urls
from orderflow.settings.certificates import check_client
from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import Address, HttpUrl, Secret
from orderflow.temporal_config import TemporalConfig, TemporalConfigError

TEMPORAL_ADDRESS: Final = "localhost:7233"


def _temporal(given: Mapping[str, Any]) -> TemporalConfig:
    """What Temporal's own configuration says of the server that the settings before lead to."""
    if not given.get("temporal_envconfig"):
        return TemporalConfig()
    said = temporal_config.read()
    return said.of_server(given["temporal_address"]) if "temporal_address" in given else said


def _address(given: Mapping[str, Any]) -> str:
    """The default of where Temporal is. Raises TemporalConfigError where it was said, and is no address."""
    said = _temporal(given)
    try:
        return TEMPORAL_ADDRESS if said.address is None else urls.check_address(said.address)
    except ValueError as error:
        raise TemporalConfigError(f"{said.where('address')}: the address: {error}") from None


class TemporalSettings(CommonSettings):
    """Temporal, and the keyring of its payloads."""

    # --- Temporal ---
    temporal_envconfig: bool = Field(
        True,
        description="Whether Temporal's own configuration is asked where a setting of this section is not given: the "
        "variables `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS…`, and `temporal.toml`.",
    )
    temporal_address: Address = Field(
        default_factory=_address,
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

    @model_validator(mode="after")
    def _temporal_files_work(self) -> Self:
        """They are tried here, so that a wrong one stops a process at once."""
        check_client(
            "ORDERFLOW_TEMPORAL_TLS",
            self.temporal_tls_ca_file,
            self.temporal_tls_cert_file,
            self.temporal_tls_key_file,
        )
        return self

    @property
    def temporal_config(self) -> TemporalConfig:
        """What Temporal's own configuration says of the server at ``temporal_address``. Raises TemporalConfigError."""
        return _temporal({"temporal_envconfig": self.temporal_envconfig, "temporal_address": self.temporal_address})

    @classmethod
    def _default_address(cls, name: str) -> str:
        return TEMPORAL_ADDRESS if name == "temporal_address" else super()._default_address(name)
