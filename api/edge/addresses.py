"""The names under which the API is asked, and the pages that may ask it: both as settings and as browsers say them."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from orderflow.proxies import is_loopback
from orderflow.settings import Settings

#: RFC 9110 7.2, 4.2.1: a name or an address, and perhaps a port.
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS: Final = ("80", "443")
_EVERY_ADDRESS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on


def host_of(sent: str) -> str:
    """The name in a Host header, without its port; empty: there is none."""
    match = _HOST.fullmatch(sent.lower())
    return match[1].strip("[]").rstrip(".") if match else ""


def authority_of(sent: str) -> str:
    """Name and port, as they are compared: without a port that is the scheme's own."""
    match = _HOST.fullmatch(sent.lower())
    if match is None:
        return ""
    return match[1] if match[2] is None or match[2] in _DEFAULT_PORTS else f"{match[1]}:{match[2]}"


def is_same_origin(origin: str, host: str) -> bool:
    """Whether the page at ``origin`` is this API's own: TLS may end before us, so the scheme says nothing."""
    scheme, separator, authority = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and authority_of(authority) == authority_of(host) != ""


class Hosts:
    """The names that are ours: those of loopback, and ``names``."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def __contains__(self, sent: str) -> bool:
        name = host_of(sent)
        return bool(name) and (name in self._names or is_loopback(name))


def hosts(settings: Settings) -> Hosts:
    """Those of ``api_hosts``; where it says none, that of ``api_url`` and the address that the API listens on."""
    if settings.api_hosts is not None:
        return Hosts(host_of(name) for name in settings.listed("api_hosts"))
    found = [urlsplit(settings.api_url).hostname or "", settings.api_host]
    return Hosts(name.lower() for name in found if name not in _EVERY_ADDRESS)
