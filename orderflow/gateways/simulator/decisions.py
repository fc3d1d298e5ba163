"""What the gateway decides about a payment: by its token, and for ``tok_ok`` by a decline rate.

Decisions are a function of seed and reference, so a repeated call meets the same one. The raw token goes no further
than this module; what is kept is its behaviour.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    """What a token makes the gateway do; the token is ``tok_`` and the value."""

    OK = "ok"
    DECLINED = "declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    #: Authorizes; every capture is refused.
    CAPTURE_REFUSED = "capture_refused"
    #: Authorizes first, then takes its time to say so.
    SLOW = "slow"
    #: The reference's first authorize call fails before anything happened.
    ERROR_ONCE = "error_once"
    #: Authorizes, and the first answer is lost.
    ANSWER_LOST_ONCE = "answer_lost_once"
    #: Authorize never gets through.
    DOWN = "down"
    #: A token that the gateway never issued; declined. (``tok_unknown`` is one of them.)
    UNKNOWN = "unknown"


_BY_TOKEN = {f"tok_{behaviour.value}": behaviour for behaviour in Behaviour}


def behaviour_of(token: str) -> Behaviour:
    """What the token stands for."""
    return _BY_TOKEN.get(token, Behaviour.UNKNOWN)


def chance(seed: int, *words: str) -> float:
    """A number in [0, 1), evenly spread, always the same for the same seed and words."""
    digest = hashlib.sha256("\0".join((str(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@dataclass(frozen=True, slots=True)
class Decisions:
    """``decline_rate`` (0 to 1) is the share of references with ``tok_ok`` that are declined."""

    seed: int
    decline_rate: float

    def decline_reason(self, behaviour: Behaviour, reference: str) -> str | None:
        """Why an authorization of ``reference`` is declined, or None."""
        if behaviour is Behaviour.INSUFFICIENT_FUNDS:
            return "insufficient_funds"
        if behaviour in (Behaviour.DECLINED, Behaviour.UNKNOWN):
            return "payment_declined"
        if behaviour is Behaviour.OK and chance(self.seed, "decline", reference) < self.decline_rate:
            return "payment_declined"
        return None
