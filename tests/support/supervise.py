"""A supervisor in a process of its own, for tests that kill it: ``python -m support.supervise DATA_DIR``.

Starts the servers of an embedded stack on free ports, prints ``ready``, and waits to be ended.
"""

import asyncio
import signal
import sys
from pathlib import Path

from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack


async def main(data_dir: Path) -> None:
    """Run until SIGTERM."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with EmbeddedStack(Settings(), data_dir, processes="servers", ports="free", durable=False):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asked.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
