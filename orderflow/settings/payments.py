"""Payments: the gateway, and the keys of payment tokens."""

from pathlib import Path

from pydantic import Field

from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import HttpUrl, PositiveSeconds


class PaymentSettings(CommonSettings):
    """The gateway, and the keys of payment tokens."""

    # --- Payment gateway and payment tokens ---
    gateway_url: HttpUrl = Field("http://localhost:8090", description="The payment gateway (here: the simulator).")
    gateway_timeout_seconds: PositiveSeconds = Field(5.0, description="For one gateway call, connecting included.")
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
