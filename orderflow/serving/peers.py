"""Who is at the other end of a connection: its network, and whether it is a proxy of ours that may speak for others."""

import ipaddress
from collections.abc import Iterable
from typing import Final, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Whoever has one IPv6 address has the 2^64 of its network.
IPV6_PREFIX: Final = 64


def peer_of(address: str | None) -> str | None:
    """What limits count an address by: an IPv4 address, or the /64 of an IPv6 one. None: a Unix socket, a test."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))


def networks(text: str) -> tuple[Network, ...]:
    """``"10.0.0.7, 10.1.0.0/16"``. Raises ValueError, which names the entry."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(entry))
        except ValueError:
            raise ValueError(f"{entry!r} is neither an IP address nor a network such as 10.1.0.0/16") from None
    return tuple(found)


def is_among(address: str | None, known: Iterable[Network]) -> bool:
    """Whether ``address`` is one of ``known``; what is no IP address is none."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in known)
