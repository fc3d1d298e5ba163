"""API keys as text: ``ofk_<deployment>_<id>_<secret><checksum>``.

The secret is 256 random bits in base 62; of it the database has the SHA-256 alone. The checksum (CRC-32 of all that
stands before it, base 62) tells a mistyped key, or a scanner of repositories, that this is none, without any look-up.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET: Final = 43
_CHECKSUM: Final = 6
DEPLOYMENT: Final = re.compile(r"[a-z0-9]{1,20}")
PREFIX: Final = "ofk_"
_KEY: Final = re.compile(
    rf"ofk_([a-z0-9]{{1,20}})_([a-z0-9]{{16}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})"
)
#: Finds keys in text, also cut or mistyped ones.
LOOKS_LIKE_A_KEY: Final = re.compile(r"ofk_[0-9A-Za-z_]+")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in its parts. ``digest``: SHA-256 of the whole text, 32 bytes; what the database has."""

    deployment: str
    id: str
    digest: bytes


def make(deployment: str) -> tuple[str, ApiKey]:
    """A new key: its text, which nobody can be shown again, and its parts."""
    if not DEPLOYMENT.fullmatch(deployment):
        raise ValueError(f"a deployment's name is 1-20 characters a-z 0-9, not {deployment!r}")
    key_id = secrets.token_hex(8)
    secret = _base62(secrets.randbits(256), _SECRET)
    body = f"{PREFIX}{deployment}_{key_id}_{secret}"
    text = body + _checksum(body)
    return text, ApiKey(deployment, key_id, _digest(text))


def parse(text: str) -> ApiKey | None:
    """The parts of a key; None: it is none, or mistyped."""
    found = _KEY.fullmatch(text)
    if found is None or not hmac.compare_digest(_checksum(text[:-_CHECKSUM]), found[4]):
        return None
    return ApiKey(found[1], found[2], _digest(text))


def same(one: bytes, other: bytes) -> bool:
    """Whether two digests are one, in constant time."""
    return hmac.compare_digest(one, other)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
