"""The connections of one server: so many at once, and so many of one peer.

Each is an open file, and a process may have only so many (``RLIMIT_NOFILE``). When there are too many, the one that has
been idle longest is closed; where none is idle, the new one is refused. The same holds for the connections of one peer
(an IPv4 address, the /64 of an IPv6 address), so that nobody can have them all.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from orderflow.serving.peers import Network, is_among, peer_of

#: Of one peer, unless a setting says otherwise. Browsers open 6, gateways and load generators some dozens.
MOST_OF_A_PEER: Final = 256


class Connection(Protocol):
    """What is counted here."""

    def close(self) -> None:
        """Close it: it has no request."""


class Connections:
    """At most ``most`` at once, and ``most_of_a_peer``; not so those of ``proxies``, which speak for many."""

    def __init__(self, most: int, most_of_a_peer: int = MOST_OF_A_PEER, proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._most_of_a_peer = most_of_a_peer
        self._proxies = proxies
        self._open: dict[Connection, str | None] = {}
        self._of_peer: Counter[str] = Counter()
        #: From the longest idle on.
        self._idle: dict[Connection, None] = {}

    def admit(self, connection: Connection, address: str | None) -> bool:
        """Take in a new one; for one too many the longest idle is closed. False: none is, and it must go."""
        peer = None if is_among(address, self._proxies) else peer_of(address)
        self._open[connection] = peer
        if peer is not None:
            self._of_peer[peer] += 1
            if self._of_peer[peer] > self._most_of_a_peer and not self._make_room(peer):
                return False
        if len(self._open) > self._most and not self._make_room(None):
            return False
        self._idle[connection] = None
        return True

    def busy(self, connection: Connection) -> None:
        """It has a request now."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """It has none any more."""
        if connection in self._open:
            self._idle[connection] = None

    def left(self, connection: Connection) -> None:
        """It is closed."""
        peer = self._open.pop(connection, None)
        if peer is not None:
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]
        self._idle.pop(connection, None)

    def _make_room(self, peer: str | None) -> bool:
        """Close the longest idle one, of ``peer`` if given."""
        longest = next((idle for idle in self._idle if peer is None or self._open[idle] == peer), None)
        if longest is None:
            return False
        self.left(longest)
        longest.close()
        return True
