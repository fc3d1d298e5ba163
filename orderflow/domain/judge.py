"""Why a command cannot happen now: the one place where a row's state becomes a refusal."""

from orderflow.domain.commands import Command, illegal_transition, shipment_in_progress, version_conflict
from orderflow.domain.errors import Problem
from orderflow.domain.lifecycle import Lifecycle
from orderflow.domain.orders import LIFECYCLE as ORDER_LIFECYCLE
from orderflow.domain.orders import allowed_actions


def refusal(
    lifecycle: Lifecycle, command: Command, status: str | None, version: int | None, *, pending: bool = False
) -> Problem | None:
    """What forbids ``command`` on a row with ``status`` and ``version``; None where nothing does.

    ``pending``: another command of the order is under way. A version conflict is named first, as HTTP does.
    """
    if version is not None and not command.precondition.holds(version):
        return version_conflict(f"The {lifecycle.aggregate}", command.precondition, version)
    if not lifecycle.allows(command.name, status):
        problem = illegal_transition(lifecycle, command.name, status, version)
        if lifecycle is ORDER_LIFECYCLE:
            return problem.model_copy(update={"allowed_actions": allowed_actions(status)})
        return problem
    if pending:
        return shipment_in_progress(command.name)
    return None
