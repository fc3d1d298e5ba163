"""Who is at the other end."""

import pytest

from orderflow.serving.connections import Connections
from orderflow.serving.peers import is_among, networks, peer_of


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_an_ipv6_address_is_counted_with_its_network(address: str | None, peer: str | None) -> None:
    assert peer_of(address) == peer


def test_proxies_are_addresses_and_networks() -> None:
    known = networks(" 10.0.0.7, 10.1.0.0/16 ,fd00::/8")
    assert [is_among(address, known) for address in ("10.0.0.7", "10.1.200.3", "fd00::1", "::ffff:10.0.0.7")] == [
        True
    ] * 4
    assert not any(is_among(address, known) for address in ("10.0.0.8", "10.2.0.1", "fe80::1", "proxy", None))
    assert networks("") == ()
    for wrong in ("proxy", "10.0.0.1/8", "10.0.0.0/33", "*"):
        with pytest.raises(ValueError, match="neither an IP address nor a network"):
            networks(wrong)


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_peer_with_too_many_makes_room_among_its_own() -> None:
    connections = Connections(100, most_of_a_peer=2)
    other, first, second, third = Line(), Line(), Line(), Line()
    assert connections.admit(other, "192.0.2.9")
    assert all(connections.admit(line, f"2001:db8::{n}") for n, line in enumerate((first, second, third)))
    assert [line.closed for line in (other, first, second, third)] == [False, True, False, False]


def test_what_has_left_no_longer_counts() -> None:
    connections = Connections(100, most_of_a_peer=1)
    for _ in range(5):
        line = Line()
        assert connections.admit(line, "192.0.2.1")
        connections.busy(line)
        refused = Line()
        assert not connections.admit(refused, "192.0.2.1")
        connections.left(refused)
        connections.left(line)
