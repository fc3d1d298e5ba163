"""The keys that what travels to Temporal is sealed with: one file, read again when it changes.

A key a line, ``<id> <32 bytes as base64url>``; empty lines and those that begin with ``#`` say nothing. The first key
seals; all of them open. So a new key goes to the front, and an old one stays while something may be sealed with it.
"""

import base64
import binascii
import contextlib
import fcntl
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orderflow.security.sealing import KeyFileError
from orderflow.security.secret_files import SecretFileError, read_bytes, stamp

#: Of one file: hundreds of keys.
MOST_BYTES: Final = 65_536
KEY_BYTES: Final = 32
_HASHING: Final = b"orderflow/request-hash"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: How often it is looked whether the file has changed; at once where a key is missing.
_LOOK_SECONDS: Final = 1.0
_HEADER: Final = (
    "# Keys of OrderFlow for what travels to Temporal. The first seals, all of them open. Keep it secret.\n"
)

log = structlog.get_logger(__name__)


class Keyring:
    """The keys of one file. Once it was read, a file that cannot be used any more is logged, and changes nothing."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises KeyFileError."""
        self.path = path
        self._looked = time.monotonic()
        self._stamp = stamp(path)
        self._keys, self._hashing = _made_of(_read(path))

    @property
    def newest(self) -> tuple[str, AESGCM]:
        """The key that seals, and its id."""
        self._look(_LOOK_SECONDS)
        return next(iter(self._keys.items()))

    def find(self, key_id: str) -> AESGCM | None:
        """The key with this id; None: the file has none."""
        if key_id not in self._keys:
            self._look(0.0)
        return self._keys.get(key_id)

    def hashing_keys(self) -> tuple[tuple[str, bytes], ...]:
        """A key for hashes beside each, by its id; the newest first."""
        self._look(_LOOK_SECONDS)
        return tuple(self._hashing.items())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys; the first seals."""
        return tuple(self._keys)

    def _look(self, not_within: float) -> None:
        now = time.monotonic()
        if now - self._looked < not_within:
            return
        self._looked = now
        found = stamp(self.path)
        if found == self._stamp:
            return
        self._stamp = found
        try:
            self._keys, self._hashing = _made_of(_read(self.path))
        except KeyFileError as error:
            log.error("payload_keyring_unusable", error=str(error))
        else:
            log.info("payload_keyring_read", seals=self.ids[0], keys=len(self._keys))


def key_ids(path: Path) -> tuple[str, ...]:
    """The ids in a keyring's file; the first seals. Raises KeyFileError."""
    return tuple(_read(path))


def create_key(path: Path) -> tuple[str, bool]:
    """A new key: the first of a file that is made for it, else the last of the file, which opens and does not seal.

    Its id, and whether it seals. Raises KeyFileError.
    """
    with _writing(path):
        keys = _read(path) if path.exists() else {}
        made, key = _new()
        _write(path, {**keys, made: key})
        return made, not keys


def rotate_key(path: Path, to: str | None = None) -> str:
    """Have a new key seal, or the one with the id ``to``; all others stay, to open. Its id. Raises KeyFileError."""
    with _writing(path):
        keys = _read(path)
        if to is not None and to not in keys:
            raise KeyFileError(f"{path} has no key {to}: it has {', '.join(keys)}")
        first, key = (to, keys[to]) if to is not None else _new()
        _write(path, {first: key} | {name: kept for name, kept in keys.items() if name != first})
        return first


def ensure_keyring(path: Path) -> None:
    """Make the file, with one key, where it is not there. Raises KeyFileError."""
    if not path.exists():
        create_key(path)


def _new() -> tuple[str, bytes]:
    return f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(4)}", secrets.token_bytes(KEY_BYTES)


def _made_of(keys: dict[str, bytes]) -> tuple[dict[str, AESGCM], dict[str, bytes]]:
    """What seals and what hashes: a key of its own for each use."""
    hashing = {
        name: HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_HASHING).derive(key)
        for name, key in keys.items()
    }
    return {name: AESGCM(key) for name, key in keys.items()}, hashing


def _read(path: Path) -> dict[str, bytes]:
    try:
        content = read_bytes(path, MOST_BYTES)
    except SecretFileError as error:
        hint = "" if path.exists() else "; `orderflow payload-keys create` makes a keyring"
        raise KeyFileError(f"{error}{hint}") from None
    keys: dict[str, bytes] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, key = _key(path, number, line)
        if name in keys:
            raise KeyFileError(f"{path} line {number}: a second key with the id {name}")
        keys[name] = key
    if not keys:
        raise KeyFileError(f"{path} holds no key")
    return keys


def _key(path: Path, number: int, line: bytes) -> tuple[str, bytes]:
    """One line's key. What is wrong with it is said without quoting it: it may be a key."""
    parts = line.decode("ascii", "replace").split()
    if len(parts) != 2 or not _KEY_ID.fullmatch(parts[0]):
        raise KeyFileError(f"{path} line {number}: it is not an id and a key")
    try:
        key = base64.b64decode(parts[1], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path} line {number}: the key is not {KEY_BYTES} bytes as base64url")
    return parts[0], key


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """One at a time: two who change the file at once would lose a key, and what was sealed with it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileError(f"{error.filename or path}: {error.strerror}") from error


def _write(path: Path, keys: dict[str, bytes]) -> None:
    """Whole or not at all; a file that was there keeps its group and mode."""
    target = path.resolve()
    before = target.stat() if target.exists() else None
    handle, draft = tempfile.mkstemp(dir=target.parent)  # for its owner alone
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(_HEADER)
            out.writelines(f"{name} {base64.urlsafe_b64encode(key).decode()}\n" for name, key in keys.items())
            if before is not None:
                os.fchown(out.fileno(), before.st_uid, before.st_gid)
                os.fchmod(out.fileno(), before.st_mode & 0o640)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
