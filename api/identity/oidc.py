"""Access tokens of other issuers (RFC 9068): a JWT becomes a principal, or is refused.

Issuers are named by the settings. A token's ``iss`` only chooses among them, before anything is fetched; its ``kid``
only chooses among that issuer's keys, and the key says which algorithms may have signed. Tokens are verified at each
request (under 0.1 ms), so one that has expired is never believed.
"""

import base64
import json
import warnings
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid5

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError, SecurityWarning
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from pydantic import TypeAdapter, ValidationError

from api.identity.authentication import Unauthenticated
from api.identity.key_sets import ALGORITHMS, KeySet
from orderflow.domain.access import AuthType, Principal, Scope
from orderflow.domain.orders import ShortText
from orderflow.security.issuers import Issuer

LEEWAY_SECONDS: Final = 30
#: A token that is good for longer is no access token: nobody can take it back.
MOST_SECONDS: Final = 24 * 3600
MOST_SUBJECT: Final = 255
#: RFC 9068 2.1; an ID token, which is for the client, is another type.
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_NAMESPACE: Final = UUID("6f1f0f0e-52a8-5b0e-9d0a-2f6a3c1c7f11")
#: Where issuers say what a token may do: RFC 9068, Entra and Okta, Auth0.
_SCOPE_CLAIMS: Final = ("scope", "scp", "permissions")
_KNOWN_SCOPES: Final = frozenset(map(str, Scope))
_CUSTOMER: Final = TypeAdapter[str](ShortText)


# RFC 9864 renames it to Ed25519, and most issuers still say EdDSA: with an Ed25519 key the two are one.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)


class AccessTokens:
    """Principals by the access tokens of ``issuers``."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._key_sets = {issuer.issuer: KeySet(issuer) for issuer in issuers}

    async def principal(self, credential: str) -> Principal:
        """See Identities."""
        header, claimed = _unverified(credential)
        name, algorithm, kid = claimed.get("iss"), header.get("alg"), header.get("kid")
        key_set = self._key_sets.get(name) if isinstance(name, str) else None
        if key_set is None:
            raise Unauthenticated("The token's issuer (iss) is none of ours.")
        if str(header.get("typ", "")).lower() not in _TYPES:
            raise Unauthenticated("The token's header must say `typ: at+jwt`: it is an access token, and no other.")
        if not any(algorithm in known for known in ALGORITHMS.values()):
            raise Unauthenticated("The token's algorithm (alg) is none that is believed.")
        if "crit" in header:  # RFC 7515 4.1.11: refused by whoever does not understand it, and so is an empty list
            raise Unauthenticated("The token's header asks for extensions (crit), of which none is understood.")
        if not isinstance(kid, str):
            raise Unauthenticated("The token's header must name its key (kid).")
        key = await key_set.key(kid)
        if key is None:
            raise Unauthenticated("The token's key (kid) is none of its issuer's.")
        claims = _verified(credential, key, key_set.issuer)
        return _principal(claims, key_set.issuer)

    def remembers(self, credential: str) -> bool:
        """See Identities. A token is judged by itself; for its keys, nobody is asked more often than they allow."""
        return True

    async def close(self) -> None:
        """Give up what is being fetched."""
        for key_set in self._key_sets.values():
            await key_set.close()


def principal_id(issuer: str, subject: str) -> str:
    """The id of an issuer's subject.

    It is computed from the two, which together name a caller for good (RFC 9068 2.2, OpenID Connect 5.7). So nobody
    has to be written down before they may call, a token costs the database nothing, and the same person has the same
    id, and with it the same orders, commands and limits, in each process and after each restore. It is opaque: events
    and logs do not tell who somebody is at their issuer.
    """
    return str(uuid5(_NAMESPACE, json.dumps([issuer, subject], separators=(",", ":"))))


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a token says of itself: to choose by, and never to believe."""
    try:
        header, claims = (
            json.loads(base64.b64decode(part + "=" * (-len(part) % 4), "-_", validate=True))
            for part in token.split(".")[:2]
        )
    except (ValueError, RecursionError):
        raise Unauthenticated("That is no JWT.") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated("That is no JWT.")
    return header, claims


def _verified(token: str, key: Key, issuer: Issuer) -> dict[str, Any]:
    """The claims of a token that the issuer has signed for us, and that is good now. Raises Unauthenticated."""
    algorithms = ALGORITHMS[key.key_type]
    try:
        claims = jwt.decode(token, key, registry=JWSRegistry(algorithms=algorithms, strict_check_header=False)).claims
        JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer.issuer},
            aud={"essential": True, "value": issuer.audience},
            sub={"essential": True},
            exp={"essential": True},
            nbf={"essential": True},
        ).validate(claims)
    except MissingClaimError as error:
        raise Unauthenticated(f"The token lacks a claim: {error.claim}.") from None
    except ExpiredTokenError:
        raise Unauthenticated("The token has expired.") from None
    except InvalidClaimError as error:
        raise Unauthenticated(f"The token's claim {error.claim} is not what it must be.") from None
    except (JoseError, ValueError, TypeError, RecursionError):  # joserfc reads the header before it has been believed
        raise Unauthenticated("The token is not signed by its issuer.") from None
    # Compared and not subtracted: one of them may be a float, which holds no number of 400 digits.
    if claims["exp"] > claims["nbf"] + MOST_SECONDS:
        raise Unauthenticated(f"The token is good for longer than {MOST_SECONDS // 3600} h.")
    if not 0 < len(claims["sub"]) <= MOST_SUBJECT:
        raise Unauthenticated(f"The token's claim sub must have 1 to {MOST_SUBJECT} characters.")
    return claims


def _principal(claims: dict[str, Any], issuer: Issuer) -> Principal:
    customer = claims.get(issuer.customer_claim)
    if customer is not None:
        try:
            customer = _CUSTOMER.validate_python(customer, strict=True)
        except ValidationError:
            raise Unauthenticated("The token's claim for the customer is none of ours.") from None
    kind: AuthType = "service_account" if claims.get("client_id") == claims["sub"] else "app_user"
    return Principal(
        id=principal_id(issuer.issuer, claims["sub"]),
        type=kind,
        scopes=_scopes(claims) & issuer.scopes,
        customer_id=customer,
    )


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """Ours of what the token says; others mean nothing here."""
    said: set[str] = set()
    for name in _SCOPE_CLAIMS:
        value = claims.get(name)
        words = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else ()
        said.update(word for word in words if isinstance(word, str))
    return frozenset(Scope(word) for word in said & _KNOWN_SCOPES)
