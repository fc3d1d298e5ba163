"""Steps that break as a test says: before their effect, after it, or frozen and woken too late."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any

from temporalio.client import Interceptor as ClientInterceptor
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orderflow.domain.errors import Unavailable


class Faults(ClientInterceptor, Interceptor):
    """Give it to the client of a world; then say what is to happen to the next attempts of a step."""

    def __init__(self) -> None:
        self._before: dict[str, int] = defaultdict(int)
        self._after: dict[str, int] = defaultdict(int)
        self._bugs: dict[str, int] = defaultdict(int)
        self._frozen: dict[str, asyncio.Event] = {}
        self._held: dict[str, asyncio.Event] = {}
        self.arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.attempts: dict[str, int] = defaultdict(int)
        #: Steps whose frozen attempt went on, and has had its effect.
        self.woken: list[str] = []

    def before(self, step: str, times: int = 2) -> None:
        """The next attempts fail before they have any effect: unavailable, or killed before."""
        self._before[step] = times

    def after(self, step: str, times: int = 2) -> None:
        """The next attempts have their effect, and nobody hears of it: timed out, or killed after."""
        self._after[step] = times

    def bug(self, step: str, times: int = 1) -> None:
        """The next attempts fail in a way that is not worth repeating."""
        self._bugs[step] = times

    def freeze(self, step: str) -> asyncio.Event:
        """The next attempt stands still until the event is set, and has its effect then. Others go on beside it."""
        self._frozen[step] = asyncio.Event()
        return self._frozen[step]

    def hold(self, step: str) -> asyncio.Event:
        """All attempts wait until the event is set."""
        self._held[step] = asyncio.Event()
        return self._held[step]

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap each step."""
        return _Faulty(next, self)

    async def stand_still(self, step: str) -> bool:
        """Called when an attempt begins; whether it was frozen."""
        self.attempts[step] += 1
        gate = self._frozen.pop(step, None)
        self.arrived[step].set()
        while gate is not None and not gate.is_set():
            # Beyond its time-out the attempt goes on: a frozen process is not told anything.
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
        return gate is not None

    async def strike_before(self, step: str) -> None:
        """Called when an attempt goes on."""
        if held := self._held.get(step):
            await held.wait()
        if self._bugs[step] > 0:
            self._bugs[step] -= 1
            raise ApplicationError("a bug", non_retryable=True)
        if self._before[step] > 0:
            self._before[step] -= 1
            raise Unavailable(step, "it fails before it does anything")

    async def strike_after(self, step: str) -> None:
        """Called when an attempt has had its effect."""
        if self._after[step] > 0:
            self._after[step] -= 1
            raise Unavailable(step, "it did what it does, and the answer is lost")


class _Faulty(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Faults) -> None:
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        step = input.fn.__name__
        if step == "move_order":
            step = input.args[0].command.name
        frozen = await self._faults.stand_still(step)
        try:
            await self._faults.strike_before(step)
            result = await super().execute_activity(input)
            await self._faults.strike_after(step)
            return result
        finally:
            if frozen:
                self._faults.woken.append(step)
