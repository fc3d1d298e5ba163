"""A Kafka-protocol broker in one small process: ``noida-db``. For development and fast tests.

It writes to disk lazily: kill -9 loses what was acknowledged in the last second or so, and what it acknowledges while
it ends after SIGTERM (some 50 ms) may be lost too. So end its producers first, as ``orderflow down`` does.
Where that matters, take Apache Kafka (``orderflow.stack.apache``).
"""

from importlib.util import find_spec
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orderflow.stack.errors import StackError
from orderflow.stack.ports import LOOPBACK
from orderflow.stack.probes import child_environment, port_answers
from orderflow.stack.processes import Spec


class NoidaBroker:
    """One broker with its data in ``home/kafka``."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port

    @property
    def bootstrap_servers(self) -> str:
        """For clients: host and port."""
        return f"{LOOPBACK}:{self.port}"

    async def initialise(self) -> None:
        """Make its folder."""
        (self.home / "kafka").mkdir(mode=0o700, exist_ok=True)

    def spec(self) -> Spec:
        """How to run it. Raises StackError when it is not installed."""
        return Spec(
            name="kafka",
            argv=[
                str(_noida()),
                *("start", "--data-dir", str(self.home / "kafka"), "--host", LOOPBACK),
                *("--only", "kafka", "--kafka-port", str(self.port)),
            ],
            env=child_environment(),
            cwd=self.home / "kafka",
            ready=lambda: broker_answers(self.bootstrap_servers),
            stop_grace_seconds=20,  # it flushes at SIGTERM
        )


async def broker_answers(bootstrap_servers: str) -> bool:
    """A probe: the broker gives its metadata."""
    if not await port_answers(bootstrap_servers):
        return False
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=2000)
    try:
        await admin.start()
        await admin.describe_cluster()
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()
    return True


def _noida() -> Path:
    # The package's own script is a Python wrapper around the binary: its pid would be the wrong one.
    found = find_spec("noida_db")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "noida-db"
        if path.exists():
            if not path.stat().st_mode & 0o100:
                raise StackError(f"{path} is not executable: chmod +x it")
            return path
    raise StackError("the package noida-db is not installed: pip install 'orderflow[embedded]'")
