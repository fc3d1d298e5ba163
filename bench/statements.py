"""How many SQL statements an order takes, as the product's own metric counts them: every one that the store sends.

Postgres' own count would see other sessions' statements too, and late: a session tells it at most once a second.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from bench.http import HttpClient
from orderflow.stack.ports import LOOPBACK, private_port

SCRAPED: Final = ("api", "workers", "relay")
_COUNT: Final = re.compile(
    r'^orderflow_statement_duration_seconds_count\{database="[^"]*",statement="([^"]*)"\} (\S+)$', re.MULTILINE
)


async def statements(ports: Mapping[str, int]) -> Counter[str]:
    """How often each statement was sent, since the processes began."""
    found: Counter[str] = Counter()
    for name in SCRAPED:
        async with HttpClient(f"http://{LOOPBACK}:{private_port(ports, name)}") as http:
            found += counted((await http.get("/metrics")).body.decode())
    return found


def counted(page: str) -> Counter[str]:
    """The statements of one process, from its metrics."""
    found: Counter[str] = Counter()
    for name, count in _COUNT.findall(page):
        found[name] += int(float(count))
    return found
