"""The workflow's inbox: signals become commands here, and none is lost.

A signal is accepted the moment it is durable, so nothing in it may fail: what does not decode becomes a command that
is refused, with a record of it.
"""

from collections import deque
from collections.abc import Sequence

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from orderflow.domain.commands import IDEMPOTENCY_KEY, Command
from orderflow.domain.errors import Problem
from orderflow.domain.model import what_is_wrong
from orderflow.domain.orders import DETAILS, Reason
from workflows.steps import SignalledCommand


class Inbox:
    """Commands in the order they came. With each, its problem where it cannot even be judged."""

    def __init__(self, raw_signals: int = 0) -> None:
        self.raw_signals = raw_signals
        self._waiting: deque[tuple[Command, Problem | None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def names(self) -> list[str]:
        """What waits."""
        return [command.name for command, _ in self._waiting]

    def take(self) -> tuple[Command, Problem | None]:
        """The oldest, and the problem if it cannot be judged."""
        return self._waiting.popleft()

    def put(self, command: Command, problem: Problem | None = None) -> None:
        """Add a command; one whose id already waits here is dropped."""
        if all(command.id != waiting.id for waiting, _ in self._waiting):
            self._waiting.append((command, problem))

    def put_operator_cancel(self) -> None:
        """Somebody cancelled the workflow itself."""
        self.put(Command(name="cancel", id="w:cancel", data={"reason": Reason.OPERATOR}))

    def put_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Add what a signal carries, whatever it is."""
        try:
            if name not in DETAILS:
                raise ValueError(f"there is no such command, there are {', '.join(DETAILS)}")
            signalled = _decode(arguments)
            details = DETAILS[name].model_validate(signalled.data)
        except ValidationError as error:
            self._put_invalid(name, what_is_wrong(error))
        except (ValueError, RuntimeError, KeyError) as error:
            self._put_invalid(name, str(error))
        else:
            self.put(
                Command(
                    name=name,
                    id=signalled.command_id or self._next_id(),
                    request_hash=signalled.request_hash,
                    expected_version=signalled.expected_version,
                    correlation_id=signalled.correlation_id or "",
                    traceparent=signalled.traceparent,
                    data=details.model_dump(mode="json", exclude_none=True),
                )
            )

    def _put_invalid(self, name: str, why: str) -> None:
        # No quoting of what was sent: it may be anything, also what a database refuses.
        detail = why.encode("ascii", "replace").decode().replace("\x00", "?")[:500]
        problem = Problem(slug="invalid", detail=f"The signal cannot be read: {detail}", status=422)
        self.put(Command(name=_printable(name), id=self._next_id()), problem)

    def _next_id(self) -> str:
        self.raw_signals += 1
        return f"s:{self.raw_signals}"


def _decode(arguments: Sequence[RawValue]) -> SignalledCommand:
    if not arguments:
        return SignalledCommand()
    if len(arguments) > 1:
        raise ValueError(f"it has {len(arguments)} arguments, and takes at most one")
    signalled = workflow.payload_converter().from_payload(arguments[0].payload, SignalledCommand | None)  # type: ignore[arg-type]
    if signalled is None:
        return SignalledCommand()
    if not isinstance(signalled, SignalledCommand):  # bytes, or a protobuf message: the converter ignores the hint
        raise ValueError("it is not JSON")
    if signalled.command_id is not None:
        prefix, _, key = signalled.command_id.partition(":")
        if prefix != "c" or not IDEMPOTENCY_KEY.fullmatch(key):
            raise ValueError("command_id: must be c: and 1-200 characters A-Z a-z 0-9 . _ ~ -")
    return signalled


def _printable(name: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name)[:100] or "?"
