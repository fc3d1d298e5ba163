"""How often a service's process looks for garbage that only cycles keep alive."""

import gc
from typing import Final

#: Objects made until the youngest are looked through (Python's own: 700), and how often the older ones are, beside
#: that. What a request or a step makes is gone before, so that a look finds nothing and costs a tenth of all CPU.
THRESHOLDS: Final = (20_000, 50, 100)


def look_for_garbage_seldom() -> None:
    """For a process that serves. Measured in docs/performance.md."""
    gc.set_threshold(*THRESHOLDS)
