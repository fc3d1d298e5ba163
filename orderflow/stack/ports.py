"""Which port a server gets: the one it had, else the usual one, else a free one. Loopback only."""

import random
import socket
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from orderflow.stack.errors import StackError

LOOPBACK = "127.0.0.1"
#: Below the range from which Linux and macOS take ports for outgoing connections.
SEARCH_RANGE = (20_000, 32_000)
USUAL_PORTS = {
    "api": 8080,
    "temporal": 7233,
    "temporal_ui": 8233,
    "kafka": 9092,
    "kafka_controller": 9093,
    "postgres": 5432,
    "gateway": 8090,
    "workers": 8091,
    "relay": 8092,
    "orders": 8093,
    "payments": 8094,
    "inventory": 8095,
    "codec": 8096,
    "api_private": 8097,
    "prometheus": 9090,
}
#: Where a process answers for operators, if it is not the port that is named after it.
_PRIVATE = {"api": "api_private"}


def private_port(ports: Mapping[str, int], process: str) -> int:
    """The port with a process's metrics and what its readiness stands on."""
    return ports[_PRIVATE.get(process, process)]


@dataclass(frozen=True, slots=True)
class MovedPort:
    """``wanted`` is taken by somebody else: ``name`` got ``chosen``."""

    name: str
    wanted: int
    chosen: int


def choose_ports(
    names: Iterable[str], *, before: Mapping[str, int], explicit: Mapping[str, int], usual: bool
) -> tuple[dict[str, int], list[MovedPort]]:
    """A port for each name: an ``explicit`` one, the one it had ``before``, the usual one, as long as it is free.

    With ``usual=False`` a name without a port of its own gets any free one.
    """
    ports: dict[str, int] = {}
    moved = []
    for name in names:
        wanted = explicit.get(name) or before.get(name) or (USUAL_PORTS[name] if usual else None)
        if wanted is not None and wanted not in ports.values() and is_free(wanted):
            ports[name] = wanted
            continue
        ports[name] = free_port(avoid={*ports.values(), *before.values(), *USUAL_PORTS.values()})
        if wanted is not None:
            moved.append(MovedPort(name, wanted, ports[name]))
    return ports, moved


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now, on loopback and (as some listen there) on every address."""
    for host in (LOOPBACK, ""):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def free_port(avoid: Container[int] = ()) -> int:
    """A port that nobody listens on, not among ``avoid``. Raises StackError when none is found."""
    for _ in range(500):
        port = random.randint(*SEARCH_RANGE)  # noqa: S311 - not a secret
        if port not in avoid and is_free(port):
            return port
    raise StackError(f"no free port between {SEARCH_RANGE[0]} and {SEARCH_RANGE[1]}")
