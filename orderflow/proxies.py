"""The proxy that the environment names, for our own API and what else the command line asks by HTTP.

httpx reads these variables too, and raises where it cannot use one, also for a host that needs none: a SOCKS proxy
without another package, an IPv6 network in NO_PROXY. Here only the variable that counts for a host is read.
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import Final

import httpx

from orderflow import urls

#: For connections of which nobody says how many there may be.
_LIMITS: Final = httpx.Limits(max_connections=10)


class ProxyError(Exception):
    """The environment names a proxy, or certificates, that cannot be used; the message names the variable."""


def transport(url: httpx.URL, limits: httpx.Limits = _LIMITS) -> httpx.AsyncHTTPTransport:
    """Connections to ``url``, by the proxy that the environment names for its host. Raises ProxyError."""
    found = proxy_for(url, os.environ)
    try:
        return httpx.AsyncHTTPTransport(limits=limits, proxy=urls.check(found[1], urls.HTTP) if found else None)
    except (ImportError, ValueError, httpx.InvalidURL):
        if found is None:
            raise
        name, proxy = found
        raise ProxyError(
            f"{name} ({urls.shown(proxy)}) is no http:// or https:// proxy, so {url.host} cannot be asked: "
            f"unset it, or name the host in NO_PROXY"
        ) from None
    except OSError as error:
        raise ProxyError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error.strerror or error}") from None


def proxy_for(url: httpx.URL, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that counts for ``url``, and the proxy in it; None: it is asked directly, as loopback always is."""
    left_out = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if is_loopback(url.host) or any(_matches(url.host, entry.strip()) for entry in left_out.split(",")):
        return None
    for name in (f"{url.scheme}_proxy", f"{url.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
        if proxy := environment.get(name):
            return name, proxy if "://" in proxy else f"http://{proxy}"
    return None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine: no proxy reaches that."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _matches(host: str, entry: str) -> bool:
    """Whether an entry of NO_PROXY is about ``host``: ``*``, an address or network, or a name and those below it."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name = entry.lower().lstrip("*").lstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
