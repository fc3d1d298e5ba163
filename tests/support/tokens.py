"""Keys for a test run, as the files that settings name: for payment tokens, and for what travels to Temporal."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from orderflow.security.keyring import ensure_keyring
from orderflow.security.sealing import TokenOpener, TokenSealer, make_keys


@cache
def key_files() -> dict[str, Path]:
    """The settings that name them."""
    folder = Path(tempfile.mkdtemp(prefix="orderflow-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    private, public = folder / "keys" / "private.pem", folder / "keys" / "public.pem"
    make_keys(private, public)
    keyring = folder / "keys" / "payload-keys"
    ensure_keyring(keyring)
    return {
        "token_private_key_file": private,
        "token_public_key_file": public,
        "payload_keyring_file": keyring,
    }


@cache
def opener() -> TokenOpener:
    """What the payments role has."""
    return TokenOpener.from_file(key_files()["token_private_key_file"])


def seal(order_id: UUID, token: str) -> str:
    """As the API seals it."""
    return TokenSealer.from_file(key_files()["token_public_key_file"]).seal(order_id, token)


def with_keys(**settings: Any) -> dict[str, Any]:
    """``settings``, and where the keys are."""
    return {**key_files(), **settings}
