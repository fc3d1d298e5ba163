"""Switches that break the gateway while it runs, for tests of what depends on it. Gone when it restarts."""

from dataclasses import dataclass

from orderflow.gateways.simulator.decisions import chance


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with operations (not with looking at the ledger).

    ``delay_seconds``: every operation waits this long before it is carried out, so one whose caller has given up
    arrives late; ``answer_delay_seconds``: its answer comes this long after it was carried out. ``down`` and
    ``error_rate``: all, or this share of them, answer 503 and nothing happens. ``lose_answer_rate``: this share
    happens, and the answer is a 500.
    """

    delay_seconds: float = 0.0
    answer_delay_seconds: float = 0.0
    error_rate: float = 0.0
    lose_answer_rate: float = 0.0
    down: bool = False


class Breakage:
    """The faults in force, and the dice for their rates: the same seed throws the same numbers."""

    def __init__(self, seed: int) -> None:
        self.faults = Faults()
        self._seed = seed
        self._thrown = 0

    def fails(self) -> bool:
        """Whether this operation fails before anything happens."""
        return self.faults.down or self._throw() < self.faults.error_rate

    def loses_answer(self) -> bool:
        """Whether this operation's answer is lost."""
        return self._throw() < self.faults.lose_answer_rate

    def _throw(self) -> float:
        self._thrown += 1
        return chance(self._seed, "fault", str(self._thrown))
