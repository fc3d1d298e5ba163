"""An issuer's public keys: fetched when they are needed, bounded in size and time, and kept while it is away."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from orderflow.domain.errors import Unavailable
from orderflow.proxies import ProxyError, transport
from orderflow.security.issuers import Issuer, secure
from orderflow.telemetry.metrics import KEY_SET_FETCHES
from orderflow.urls import shown

MOST_BYTES: Final = 256 * 1024
MOST_KEYS: Final = 100
FETCH_SECONDS: Final = 2.0
#: Keys are fetched again after this; a key that the issuer has withdrawn is believed no longer than that.
FRESH_SECONDS: Final = 600.0
#: While the issuer is away, its keys are believed for so long.
STALE_SECONDS: Final = 3600.0
#: Between two fetches for the sake of a token: made-up key ids are no flood at the issuer.
REFETCH_SECONDS: Final = 30.0
#: The same while there are no keys that could be believed.
RETRY_SECONDS: Final = 1.0
_RSA_BITS: Final = range(2048, 8193)
#: What each kind of key may sign with: an RSA key's text is no secret of an HMAC.
ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "RSA": ("RS256", "PS256"),
    "EC": ("ES256",),
    "OKP": ("EdDSA", "Ed25519"),
}

log = structlog.get_logger()


class NotFetched(Exception):
    """There are no keys where they should be; the message says why."""


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._keys: dict[str, Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._why = "it was not asked yet"
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> Key | None:
        """The key of this id; None: the issuer has none. Raises Unavailable where nobody can tell."""
        now = time.monotonic()
        age, untried = now - self._fetched_at, now - self._tried_at
        if age < STALE_SECONDS and kid in self._keys:
            if age >= FRESH_SECONDS and untried >= REFETCH_SECONDS:
                self._begin()  # nobody waits for it: the old ones are good meanwhile
            return self._keys[kid]
        if self._fetching is not None or untried >= (REFETCH_SECONDS if age < STALE_SECONDS else RETRY_SECONDS):
            await asyncio.shield(self._begin())
        if time.monotonic() - self._fetched_at >= STALE_SECONDS:
            raise Unavailable("issuer", f"{self.issuer.issuer}: {self._why}")
        return self._keys.get(kid)

    async def close(self) -> None:
        """Give up what is being fetched."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None]:
        """One fetch at a time, whoever asks."""
        if self._fetching is None:
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            found = await fetch(self.issuer)
        except NotFetched as error:
            self._why = str(error)
            KEY_SET_FETCHES.add("failed")
            log.warning("issuer_unavailable", issuer=self.issuer.issuer, detail=self._why)
        else:
            self._keys, self._fetched_at = found, time.monotonic()
            KEY_SET_FETCHES.add("fetched")
        finally:
            self._fetching = None


async def fetch(issuer: Issuer) -> dict[str, Key]:
    """The keys that an issuer publishes, by id. Raises NotFetched."""
    url = issuer.jwks_url
    if url is None:
        url = _jwks_url(issuer, await _document(issuer.discovery_url))
    return keys_of(await _document(url))


def keys_of(document: Mapping[str, Any]) -> dict[str, Key]:
    """The keys of a JWKS that may verify a token; what else is in it is passed over. Raises NotFetched."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise NotFetched(f"its key set is no list of {MOST_KEYS} keys at most")
    found: dict[str, Key] = {}
    for jwk in listed:
        if isinstance(jwk, dict) and (key := _usable(jwk)) is not None:
            found.setdefault(jwk["kid"], key)
    if not found:
        raise NotFetched("its key set has no key that could be used")
    return found


def _usable(jwk: dict[str, Any]) -> Key | None:
    """A public key for signatures. Not ``oct``: such a key is a secret, and everybody can read this one."""
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    verifies = isinstance(operations, list) and "verify" in operations and jwk.get("use", "sig") == "sig"
    if not isinstance(kid, str) or not verifies:
        return None
    try:
        match jwk.get("kty"), jwk.get("crv"):
            case "RSA", _:
                key = RSAKey.import_key(_public(jwk, "n", "e"))
                return key if key.raw_value.key_size in _RSA_BITS else None
            case "EC", "P-256":
                return ECKey.import_key(_public(jwk, "crv", "x", "y"))
            case "OKP", "Ed25519":
                return OKPKey.import_key(_public(jwk, "crv", "x"))
    except (JoseError, ValueError, TypeError, KeyError):
        log.info("key_passed_over", kid=kid[:100])
    return None


def _public(jwk: dict[str, Any], *members: str) -> dict[str, Any]:
    """Without what is private, and what would only be another opinion of ours."""
    kept = ("kty", *members, *(("alg",) if "alg" in jwk else ()))
    return {name: jwk[name] for name in kept}


def _jwks_url(issuer: Issuer, discovered: Mapping[str, Any]) -> str:
    if discovered.get("issuer") != issuer.issuer:
        raise NotFetched("its discovery document is of another issuer")
    try:
        return secure(str(discovered.get("jwks_uri")))
    except ValueError as error:
        raise NotFetched(f"jwks_uri of its discovery document: {error}") from None


async def _document(url: str) -> dict[str, Any]:
    """A JSON object by one GET: no redirects, nothing compressed, no cookies, bounded in bytes and time."""
    try:
        async with asyncio.timeout(FETCH_SECONDS), _client(url) as client, client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise NotFetched(f"{shown(url)} answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise NotFetched(f"{shown(url)} answered with what is compressed")
            body = b""
            async for part in answer.aiter_raw():
                body += part
                if len(body) > MOST_BYTES:
                    raise NotFetched(f"{shown(url)} answered more than {MOST_BYTES:,} bytes")
        found = json.loads(body)
    except TimeoutError:
        raise NotFetched(f"{shown(url)} did not answer within {FETCH_SECONDS:g} s") from None
    except (httpx.HTTPError, ProxyError) as error:
        raise NotFetched(f"{shown(url)} cannot be asked: {type(error).__name__}") from error
    except (ValueError, RecursionError):
        raise NotFetched(f"{shown(url)} answered no JSON") from None
    if not isinstance(found, dict):
        raise NotFetched(f"{shown(url)} answered no JSON object")
    return found


def _client(url: str) -> httpx.AsyncClient:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    return httpx.AsyncClient(
        transport=transport(httpx.URL(url)), headers=headers, timeout=FETCH_SECONDS, follow_redirects=False
    )
