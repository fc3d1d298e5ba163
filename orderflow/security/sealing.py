"""The payment token, sealed for the payments role: whoever else sees it, at rest or on its way, cannot open it.

HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) by the library ``cryptography``. A sealed token is bound to its order
and names its key, so keys can be changed while old ones are still needed: ``<key id>.<base64url>``.
"""

import base64
import binascii
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from orderflow.security.secret_files import SecretFileError, read_bytes

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PEM: Final = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_MOST_BYTES: Final = 65_536


class KeyFileError(Exception):
    """A key file that cannot be used; the message names it, and what it should hold."""


class CannotOpen(ValueError):
    """A sealed token that none of our keys opens. The message never has the token."""


class TokenSealer:
    """Seals; holds a public key only."""

    def __init__(self, key: X25519PublicKey) -> None:
        self._key = key
        self._id = _key_id(key)

    @classmethod
    def from_file(cls, path: Path) -> "TokenSealer":
        """The key of a PEM file (SubjectPublicKeyInfo). Raises KeyFileError."""
        try:
            key = serialization.load_pem_public_key(_read(path))
        except ValueError as error:
            raise KeyFileError(f"{path} holds no public key (PEM, X25519)") from error
        if not isinstance(key, X25519PublicKey):
            raise KeyFileError(f"{path} holds a public key of another kind than X25519")
        return cls(key)

    @property
    def key_id(self) -> str:
        """What names the key in all that it sealed."""
        return self._id

    def seal(self, order_id: UUID, token: str) -> str:
        """``token`` for ``order_id``, 48 bytes longer and as base64url."""
        box = _SUITE.encrypt(token.encode(), self._key, info=_info(order_id))
        return f"{self._id}.{base64.urlsafe_b64encode(box).decode()}"


class TokenOpener:
    """Opens; holds the private keys of the payments role."""

    def __init__(self, *keys: X25519PrivateKey) -> None:
        self._keys = {_key_id(key.public_key()): key for key in keys}

    @classmethod
    def from_file(cls, path: Path) -> "TokenOpener":
        """All keys of a PEM file (PKCS 8, unencrypted, one behind the other). Raises KeyFileError.

        A file that others may read is refused.
        """
        try:
            content = read_bytes(path, _MOST_BYTES)
        except SecretFileError as error:
            hint = "" if path.exists() else "; `orderflow setup` makes a pair of keys"
            raise KeyFileError(f"{error}{hint}") from None
        keys = []
        for block in _PEM.findall(content):
            try:
                key = serialization.load_pem_private_key(block, password=None)
            except (ValueError, TypeError) as error:
                raise KeyFileError(f"{path} holds a key that cannot be read (PEM, PKCS 8, not encrypted)") from error
            if not isinstance(key, X25519PrivateKey):
                raise KeyFileError(f"{path} holds a key of another kind than X25519")
            keys.append(key)
        if not keys:
            raise KeyFileError(f"{path} holds no private key (PEM, X25519)")
        return cls(*keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """What names the keys, in the order of the file: the newest is the last."""
        return tuple(self._keys)

    def open(self, order_id: UUID, sealed: str) -> str:
        """The token. Raises CannotOpen."""
        key_id, _, box = sealed.partition(".")
        key = self._keys.get(key_id)
        if key is None:
            raise CannotOpen(f"the payment token was sealed for a key that is not here ({key_id[:16]!r})")
        try:
            return _SUITE.decrypt(base64.urlsafe_b64decode(box), key, info=_info(order_id)).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise CannotOpen("the sealed payment token is damaged, or another order's") from error


def make_keys(private: Path, public: Path) -> bool:
    """A pair of key files, unless the private one is there. Raises KeyFileError. True: they were made."""
    try:
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = _write_private(private, X25519PrivateKey.generate())
        if made or not public.exists():
            _write_public(public, _newest(private))
    except OSError as error:
        raise KeyFileError(f"{error.filename or private}: {error.strerror}") from error
    return made


def _write_private(path: Path, key: X25519PrivateKey) -> bool:
    """Whole or not at all, never over a file, and never through somebody else's link. False: there is one."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    if path.exists():
        return False
    handle, draft = tempfile.mkstemp(dir=path.parent)  # for its owner alone
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(pem)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


def _newest(private: Path) -> X25519PublicKey:
    opener = TokenOpener.from_file(private)
    return list(opener._keys.values())[-1].public_key()


def _write_public(path: Path, key: X25519PublicKey) -> None:
    path.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; `orderflow setup` makes a pair of keys") from error


def _key_id(key: X25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _info(order_id: UUID) -> bytes:
    return f"orderflow/token|{order_id}".encode()
