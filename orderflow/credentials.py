"""The API key with which this machine calls the API, and to whom it goes."""

import re
from typing import Final
from urllib.parse import urlsplit

from orderflow.security.secret_files import SecretFileError, read_secret
from orderflow.settings import Settings

_HEADER: Final = "authorization: bearer "
_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


class CredentialError(Exception):
    """The key cannot be had; the message names the setting or the file, and what would be right."""


def header_line(key: str) -> str:
    """What a key's file holds, so that ``curl -H @FILE`` sends it and it stands in no list of processes."""
    return f"Authorization: Bearer {key}\n"


def key_in(text: str) -> str:
    """The key in what a key's file or setting holds: the key alone, or ``header_line``'s line."""
    text = text.strip()
    return text[len(_HEADER) :].strip() if text.lower().startswith(_HEADER) else text


def api_key(settings: Settings, url: str | None = None) -> str | None:
    """The key for the API at ``url`` (default: the settings'); None: there is none, or it is another API's.

    A key goes to the origin that it was set for and to no other. Raises CredentialError.
    """
    if url is not None and _origin(url) != _origin(settings.api_url):
        return None
    if settings.api_key is not None:
        return _sendable(key_in(settings.api_key.get_secret_value()), "ORDERFLOW_API_KEY")
    if settings.api_key_file is None:
        return None
    try:
        return _sendable(key_in(read_secret(settings.api_key_file)), "ORDERFLOW_API_KEY_FILE")
    except SecretFileError as error:
        raise CredentialError(f"ORDERFLOW_API_KEY_FILE: {error}") from None


def _sendable(key: str, setting: str) -> str | None:
    """The key, if a header can carry it; a blank one is none."""
    if not key:
        return None
    if not _VISIBLE_ASCII.fullmatch(key):
        raise CredentialError(f"{setting}: that is no key: it has a blank or another character that no key has")
    return key


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return "", url, None
