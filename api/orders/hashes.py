"""What says that a place is the same request again, and tells nobody its payment token.

A hash over a body that is known but for the token would let whoever reads the row try tokens. So the token goes into
it as an HMAC with a key of the payload keyring, which the row names: ``<key id>:<SHA-256>``.
"""

import hashlib
import hmac
from collections.abc import Mapping

from orderflow.domain.commands import request_hash
from orderflow.security.keyring import Keyring

_FIELD = "payment_token"


class PlaceHashes:
    """Hashes of a place's body. ``keyring`` None: without a key, as before 0.2.0."""

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring

    def of(self, body: object) -> tuple[str, ...]:
        """The one that is recorded; then those that stand for the same request if it came before a rotation."""
        plain = request_hash("place", body)
        if self._keyring is None or not isinstance(body, Mapping):
            return (plain,)
        token = str(body[_FIELD]).encode("utf-8", "surrogatepass")
        keyed = (
            f"{key_id}:{request_hash('place', {**body, _FIELD: hmac.new(key, token, hashlib.sha256).hexdigest()})}"
            for key_id, key in self._keyring.hashing_keys()
        )
        return (*keyed, plain)
