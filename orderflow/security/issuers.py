"""Issuers of access tokens that the API believes: from the settings alone, never from a token."""

import json
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orderflow import urls
from orderflow.domain.access import Scope
from orderflow.proxies import is_loopback

#: Each costs a fetch of keys now and then.
MOST_ISSUERS: Final = 8
_DISCOVERY: Final = "/.well-known/openid-configuration"


def secure(url: str) -> str:
    """``url`` if nobody on the way can change what it answers. Raises ValueError, which says the rule."""
    urls.check(url, urls.HTTP)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("it begins with https:// (http:// to this machine alone)")
    if parts.username is not None:
        raise ValueError("it has no user and no password")
    return url


SecureUrl = Annotated[str, AfterValidator(secure)]


class Issuer(BaseModel):
    """An issuer, and what its tokens may say.

    ``customer_claim``: the claim that names the customer whose orders the caller reaches; ``sub`` is one, too.
    ``scopes``: no token of this issuer gives others, whatever it says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: SecureUrl
    audience: Annotated[str, Field(min_length=1, max_length=500)]
    jwks_url: SecureUrl | None = None
    customer_claim: Annotated[str, Field(min_length=1, max_length=200)] = "customer_id"
    scopes: frozenset[Scope] = frozenset(Scope)

    @property
    def discovery_url(self) -> str:
        """Where it says where its keys are, unless ``jwks_url`` does."""
        return self.issuer.rstrip("/") + _DISCOVERY


def distinct(issuers: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
    """``issuers`` if each is there once. Raises ValueError."""
    names = [issuer.issuer for issuer in issuers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"it names {', '.join(twice)} more than once")
    return issuers


def from_json(given: Any) -> Any:
    """What JSON text says; what is no text is left as it is. Raises ValueError, which does not repeat it."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None


Issuers = Annotated[
    tuple[Issuer, ...], Field(max_length=MOST_ISSUERS), BeforeValidator(from_json), AfterValidator(distinct)
]
