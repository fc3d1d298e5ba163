"""What may happen in which world: scripts of commands, with faults that each may strike as often as it is named.

Every command and every fault may come at any moment, or never.

    lost          a message is lost on its way, and its sender gives up
    delayed       its sender gives up, and the message comes later
    unheard       the message arrives, and its sender dies, or never hears of it
    timeout       nobody waits for an attempt any more; it may go on
    crash         a worker dies inside a workflow task
    terminate     somebody ends the run
    reset         somebody sets the run back, to its last task or its first
    forget        Temporal forgets a closed run
    long          Temporal suggests to continue as new
    forged        somebody sends the run a signal that says anything
    stranger      somebody starts a run by hand
    look          reconciliation or an operator has a look taken too early
"""

from dataclasses import dataclass
from typing import Final

from unit.model.state import Command

APPROVE: Final = Command("approve", "approve")
CANCEL: Final = Command("cancel", "cancel")
SHIP: Final = Command("ship", "ship-1")
ANOTHER_SHIP: Final = Command("ship", "ship-2")
COMPLETE: Final = Command("complete", "complete")
PLACE: Final = Command("place", "w:place")
EXPIRE: Final = Command("expire", "w:expire")
OPERATOR: Final = Command("operator")


@dataclass(frozen=True)
class Scenario:
    """``after``: commands that came to their ends before it begins, without a fault.

    ``says_no``: gateway and warehouse may refuse. ``near``: steps are tried inside the task first. ``api_tells``: the
    API makes an attempt to tell Temporal. ``reconciles``: where nobody took a run away, no order needs it.
    """

    name: str
    script: tuple[Command, ...]
    faults: tuple[str, ...] = ()
    after: tuple[Command, ...] = (PLACE, APPROVE)
    says_no: bool = False
    near: bool = True
    api_tells: bool = False
    dispatchers: int = 1
    reconciles: bool = False


_PLACED: Final = (PLACE,)

SCENARIOS: Final = (
    # A DRAFT, and what may happen before its time.
    Scenario("drafts", (PLACE, APPROVE, EXPIRE, CANCEL), ("look", "stranger", "unheard"), ()),
    # Messages, two dispatchers and the API.
    Scenario("first messages", (APPROVE, CANCEL), ("delayed", "unheard"), _PLACED, api_tells=True),
    Scenario(
        "messages",
        (SHIP, CANCEL, COMPLETE),
        ("delayed", "lost", "unheard"),
        says_no=True,
        api_tells=True,
        dispatchers=2,
    ),
    Scenario("no faults", (APPROVE, CANCEL), (), _PLACED, says_no=True),
    # Steps that say no, give no answer, or come late; workers that die.
    Scenario("steps", (APPROVE, CANCEL), ("crash", "timeout", "timeout"), _PLACED, says_no=True),
    Scenario("far steps", (APPROVE, CANCEL), ("crash", "timeout", "timeout"), _PLACED, says_no=True, near=False),
    Scenario("ship", (SHIP, CANCEL, COMPLETE), ("crash", "timeout", "timeout"), says_no=True),
    Scenario("two ships", (SHIP, ANOTHER_SHIP, CANCEL), ("crash", "timeout"), says_no=True),
    # An operator cancels the workflow.
    Scenario("operator", (APPROVE, OPERATOR), ("long", "timeout"), _PLACED, says_no=True),
    Scenario("operator and ship", (SHIP, OPERATOR), ("crash", "long", "timeout"), says_no=True),
    # Runs that are taken away.
    Scenario("terminated", (APPROVE, CANCEL), ("terminate", "timeout"), _PLACED, reconciles=True),
    Scenario("terminated ship", (SHIP, COMPLETE), ("delayed", "terminate", "timeout"), reconciles=True),
    Scenario("forgotten", (APPROVE, CANCEL), ("delayed", "forget", "terminate"), _PLACED, reconciles=True),
    Scenario("forgotten ship", (SHIP, COMPLETE), ("delayed", "forget", "forget"), reconciles=True),
    Scenario("reset", (APPROVE, CANCEL), ("reset", "timeout"), _PLACED),
    Scenario("reset ship", (SHIP, CANCEL, COMPLETE), ("reset", "timeout"), says_no=True),
    Scenario("reset far ship", (SHIP, COMPLETE), ("look", "reset"), near=False),
    Scenario("reset operator", (SHIP, OPERATOR), ("reset", "timeout"), says_no=True),
    # Strangers, and looks that nobody needs.
    Scenario("forged", (APPROVE, CANCEL), ("forged", "look"), _PLACED, reconciles=True),
    Scenario("forged ship", (SHIP, COMPLETE), ("forged", "long", "look", "stranger"), reconciles=True),
)

#: Everything that may happen, far too much to be seen whole: for walks.
EVERYTHING: Final = Scenario(
    "everything",
    (APPROVE, SHIP, ANOTHER_SHIP, COMPLETE, CANCEL, EXPIRE, OPERATOR),
    (
        *("crash", "delayed", "forged", "forget", "long", "look", "lost", "reset", "stranger", "terminate"),
        *("timeout", "timeout", "unheard"),
    ),
    _PLACED,
    says_no=True,
    api_tells=True,
    dispatchers=2,
    reconciles=True,
)
