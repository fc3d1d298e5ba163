"""One order's world at one moment: its row, its run in Temporal, the other services, and what is on its way.

Everything is a tuple, so a world can be hashed and compared. Nothing here decides anything: ``rules.py`` does.
"""

from typing import Final, NamedTuple

# Who waits for an attempt's answer.
NEAR: Final = "near"
FAR: Final = "far"
NOBODY: Final = "nobody"

# Where a running step is: NEW, its first attempt has not begun; NEAR, inside the workflow task; WAITS, it becomes an
# ordinary activity when the task ends; FAR, it is one.
NEW: Final = "new"
WAITS: Final = "waits"

# A run in Temporal. TERMINATED stands for every end but the run's own.
NONE: Final = "none"
OPEN: Final = "open"
COMPLETED: Final = "completed"
TERMINATED: Final = "terminated"

#: (key, what was answered), sorted by key.
Answers = tuple[tuple[str, str], ...]


def answer_of(answers: Answers, key: str) -> str | None:
    """What is recorded under ``key``."""
    return next((answer for name, answer in answers if name == key), None)


def with_answer(answers: Answers, key: str, answer: str) -> Answers:
    """``answers`` and one more; what stands there already stays the answer."""
    return answers if answer_of(answers, key) else tuple(sorted((*answers, (key, answer))))


class Handover(NamedTuple):
    """ "Temporal must look at this order". ``again``: also where its run came to an end."""

    number: int
    again: bool


class Row(NamedTuple):
    """The orders database: the row with what stands beside it. ``pending``: the ship whose capture is under way."""

    history: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    pending: str | None = None
    refused: tuple[str, ...] = ()
    token: bool = False
    reason: str | None = None
    handover: Handover | None = None
    last_number: int = 0

    @property
    def status(self) -> str | None:
        """None: there is no row."""
        return self.history[-1] if self.history else None

    @property
    def version(self) -> int:
        """Of the row; its event with that version says ``history[version - 1]``."""
        return len(self.history)


class Payments(NamedTuple):
    """The payments database."""

    status: str | None = None
    answers: Answers = ()


class Inventory(NamedTuple):
    """The inventory database."""

    status: str | None = None
    answers: Answers = ()


class Gateway(NamedTuple):
    """The payment gateway. ``status``: nothing, held, captured, voided or refunded. It remembers its answers by key."""

    status: str = "nothing"
    answers: Answers = ()
    captures: int = 0


class Step(NamedTuple):
    """What a service is asked. ``with_token``: the request of an authorize has the sealed token in it."""

    name: str
    command_id: str
    with_token: bool = True


class Attempt(NamedTuple):
    """One execution of a step. ``moment``: what it does next; ``owner``: who waits for its answer."""

    step: Step
    moment: str
    owner: str


class Running(NamedTuple):
    """A step that the workflow takes, and where."""

    step: Step
    where: str


class Inbox(NamedTuple):
    """What came while a workflow task was under way. ``results``: of far steps."""

    looks: bool = False
    cancelled: bool = False
    results: tuple[tuple[str, str], ...] = ()
    #: What a signal said. The rules drop it; only a planted bug reads it.
    content: tuple[str, int] | None = None


class Run(NamedTuple):
    """The workflow's own state, named as in ``workflows/order_workflow.py``."""

    status: str | None = None
    version: int = 0
    payment: str | None = None
    inventory: str | None = None
    running: tuple[Running, ...] = ()
    finished: tuple[tuple[str, str], ...] = ()
    ship: str | None = None
    commits: bool = False
    shuts: bool = False
    looks: bool = True
    cancel_stands: bool = False
    cancel_due: bool = False
    #: What a planted bug remembers; the rules remember nothing else.
    note: tuple[str, int] | None = None

    @property
    def is_idle(self) -> bool:
        """No step runs and no look waits."""
        return not (self.running or self.finished or self.looks)

    @property
    def is_quiet(self) -> bool:
        """The main coroutine waits."""
        return not (self.finished or self.looks or self.cancel_due)

    def begins(self, step: Step) -> "Run":
        """Take ``step``, unless one of its name is being taken."""
        if any(running.step.name == step.name for running in self.running):
            return self
        return self._replace(running=tuple(sorted((*self.running, Running(step, NEW)))))

    def moved(self, name: str, where: str) -> "Run":
        """The step called ``name`` is now ``where``."""
        return self._replace(
            running=tuple(Running(step, where if step.name == name else at) for step, at in self.running)
        )

    def ended(self, name: str, outcome: str) -> "Run":
        """The step called ``name`` came to ``outcome``, which waits to be taken."""
        running = tuple(running for running in self.running if running.step.name != name)
        return self._replace(running=running, finished=(*self.finished, (name, outcome)))

    def received(self, inbox: Inbox) -> "Run":
        """What came is part of the history now."""
        run = self
        for name, outcome in inbox.results:
            run = run.ended(name, outcome)
        return run._replace(
            looks=run.looks or inbox.looks,
            cancel_stands=run.cancel_stands or inbox.cancelled,
            cancel_due=run.cancel_due or inbox.cancelled,
            note=inbox.content or run.note,
        )


class Temporal(NamedTuple):
    """The order's latest run, as Temporal keeps it.

    ``kept`` is what the history says; ``task`` is what a worker has made of it since, lost when it dies. ``before``:
    the beginning of the last finished task, to which a reset goes back; ``since``: what came since then.
    """

    state: str = NONE
    kept: Run | None = None
    task: Run | None = None
    inbox: Inbox = Inbox()
    before: Run | None = None
    since: Inbox = Inbox()


class Sender(NamedTuple):
    """Who tells Temporal, with the number and ``again`` as they were read. ``told``: Temporal has acknowledged."""

    name: str
    handover: Handover
    told: bool = False


class Command(NamedTuple):
    """What a client, the sweep or an operator may do in a scenario, once, at any moment."""

    name: str
    id: str = ""


class World(NamedTuple):
    """Everything. ``wandering``: messages whose sender has given up (their ``again``). ``faults``: still to come."""

    row: Row = Row()
    payments: Payments = Payments()
    inventory: Inventory = Inventory()
    gateway: Gateway = Gateway()
    temporal: Temporal = Temporal()
    attempts: tuple[Attempt, ...] = ()
    senders: tuple[Sender, ...] = ()
    wandering: tuple[bool, ...] = ()
    script: tuple[Command, ...] = ()
    faults: tuple[str, ...] = ()
    #: How often reconciliation had a look taken.
    reconciled: int = 0
    #: An operator cancelled the run that is open.
    cancel_was_asked: bool = False

    @property
    def is_at_rest(self) -> bool:
        """Nothing is under way, so that what stands now has stood for a while."""
        if self.attempts or self.senders or self.wandering or self.row.handover is not None:
            return False
        return self.temporal.task is None and (self.temporal.kept is None or self.temporal.kept.is_quiet)

    def without_fault(self, name: str) -> "World | None":
        """The same, after a fault of this name; None: there is none left."""
        if name not in self.faults:
            return None
        at = self.faults.index(name)
        return self._replace(faults=self.faults[:at] + self.faults[at + 1 :])
