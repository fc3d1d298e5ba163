"""What Temporal's own configuration says: ``TEMPORAL_*`` variables and ``temporal.toml``, as its CLI and SDKs read it.

It stands in where our settings say nothing. Source: ``temporalio.envconfig``, and Temporal's page on environment
configuration, https://docs.temporal.io/develop/environment-configuration.
What it says belongs to one server: where our settings name another address, none of it is used.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orderflow.files import UnreadableFile, read_text
from orderflow.profiles import ProfileError, config_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from temporalio.service import TLSConfig

PREFIX: Final = "TEMPORAL_"
_NAME: Final = "temporal.toml"


class TemporalConfigError(ProfileError):
    """Temporal's own configuration cannot be read; the message names the file and what is wrong, and no value."""


@dataclass(frozen=True, slots=True)
class TemporalConfig:
    """What is said there; None: nothing. ``where`` it stands, for people."""

    address: str | None = None
    namespace: str | None = None
    api_key: str | None = field(default=None, repr=False)
    tls: "bool | TLSConfig | None" = field(default=None, repr=False)
    metadata: "Mapping[str, str]" = field(default_factory=dict, repr=False)
    file: str = ""

    def where(self, name: str) -> str:
        """Where ``name`` (``address``, ``namespace``, ``api_key``, ``tls``) was read."""
        variables = [v for v in os.environ if v.startswith(f"{PREFIX}{name.upper()}")]
        return ", ".join(sorted(variables)) or self.file

    def of_server(self, address: str) -> "TemporalConfig":
        """What it says of the server at ``address``: nothing, where it is about another."""
        return self if self.address in (None, address) else _NOTHING


_NOTHING: Final = TemporalConfig()


def read() -> TemporalConfig:
    """What is said now. Raises TemporalConfigError."""
    file = _file()
    there = file is not None and _is_there(file)
    if not any(name.startswith(PREFIX) for name in os.environ) and not there:
        return _NOTHING
    # Imported by those who need it: it is a lot.
    from temporalio.envconfig import ClientConfigProfile

    named = os.environ.get(f"{PREFIX}PROFILE") or "default"
    if not there:
        if f"{PREFIX}CONFIG_FILE" in os.environ:
            raise TemporalConfigError(f"{PREFIX}CONFIG_FILE: there is no file {file}")
        if named != "default":
            raise TemporalConfigError(f"{PREFIX}PROFILE is {named!r}, and there is no file {file or _NAME}")
    try:
        text = _text(file) if file is not None and there else None
        profile = ClientConfigProfile.load(config_source=text, disable_file=text is None)
        said = profile.to_client_connect_config()
    except TemporalConfigError:
        raise
    except OSError as error:
        raise TemporalConfigError(f"{file}, or a {PREFIX}TLS_… variable: {error.strerror}: {error.filename}") from None
    except Exception as error:  # the SDK has no public type of its own for it
        raise TemporalConfigError(f"{file}, or a {PREFIX}… variable: {_plain(str(error))}") from None
    return TemporalConfig(
        address=profile.address or None,
        namespace=profile.namespace or None,
        api_key=profile.api_key or None,
        tls=said.get("tls"),
        metadata=profile.grpc_meta,
        file=f"{file}, profile {named}",
    )


def _file() -> Path | None:
    """Where the file would be; None: nowhere, this user has no home."""
    if chosen := os.environ.get(f"{PREFIX}CONFIG_FILE"):
        return Path(chosen)
    try:
        return config_folder() / "temporalio" / _NAME
    except ProfileError:
        return None


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:
        raise TemporalConfigError(f"{file} cannot be read: {error.strerror}") from None


def _text(file: Path) -> str:
    try:
        text = read_text(file)
        tomllib.loads(text)
    except (UnreadableFile, tomllib.TOMLDecodeError) as error:
        raise TemporalConfigError(f"{file} is no temporal.toml: {_plain(str(error))}") from None
    return text


def _plain(said: str) -> str:
    """What is wrong, without the line that it is wrong in, which may hold an API key."""
    lines = [line.strip() for line in said.splitlines() if not re.match(r"\s*\d*\s*\|", line)]
    return re.sub(r"`[^`]*`, expected", "expected", "; ".join(line for line in lines if line))
