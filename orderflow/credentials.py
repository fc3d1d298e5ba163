"""Secrets in files, and the API key with which this machine calls the API.

A file with a secret is refused where everybody on the machine may read it.
"""

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from orderflow.files import UnreadableFile, read_text
from orderflow.settings import Settings

_HEADER = "authorization: bearer "
MOST_BYTES = 16 * 1024


class CredentialError(Exception):
    """A secret cannot be had; the message names the setting or the file, and what would be right."""


def read_secret(path: Path, setting: str) -> str:
    """The text in a file, without the blanks around it. Raises CredentialError, which names ``setting``."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o007:
            raise CredentialError(f"{setting}: everybody may read {path}: chmod 600 it")
        return read_text(path, MOST_BYTES).strip()
    except OSError as error:
        raise CredentialError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    except UnreadableFile as error:
        raise CredentialError(f"{setting}: {error}") from None


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """A new file, mode 0600 from its first byte. Raises CredentialError where it is there, unless ``replace``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if replace:
            path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CredentialError(f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def header_line(key: str) -> str:
    """What a key's file holds, so that ``curl -H @FILE`` sends it and it stands in no list of processes."""
    return f"Authorization: Bearer {key}\n"


def api_key(settings: Settings, url: str | None = None) -> str | None:
    """The key for the API at ``url`` (default: the settings'); None: there is none, or it is another API's.

    A key goes to the origin that it was set for and to no other. Raises CredentialError.
    """
    if url is not None and _origin(url) != _origin(settings.api_url):
        return None
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    if settings.api_key_file is None:
        return None
    text = read_secret(settings.api_key_file, "ORDERFLOW_API_KEY_FILE")
    return text[len(_HEADER) :].strip() if text.lower().startswith(_HEADER) else text


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower(), parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return "", url, None
