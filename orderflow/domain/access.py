"""Who may do what: principals, their scopes, roles as names for sets of scopes, and whose orders they reach.

One table, read by the API's routes, its OpenAPI document, the CLI, the docs and the tests.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID, uuid5

from orderflow.domain.model import Model


class Scope(StrEnum):
    """One thing that a principal may do."""

    ORDERS_PLACE = "orders:place"
    ORDERS_READ = "orders:read"
    ORDERS_APPROVE = "orders:approve"
    ORDERS_SHIP = "orders:ship"
    ORDERS_COMPLETE = "orders:complete"
    ORDERS_CANCEL = "orders:cancel"
    ORDERS_EVERYONE = "orders:everyone"
    STOCK_READ = "stock:read"
    STOCK_WRITE = "stock:write"
    OPERATE = "operate"
    AUDIT_READ = "audit:read"
    METRICS_READ = "metrics:read"


#: What each scope is for, for the docs and OpenAPI.
SCOPES: Final[Mapping[Scope, str]] = {
    Scope.ORDERS_PLACE: "Place orders.",
    Scope.ORDERS_READ: "Read orders, their events and commands.",
    Scope.ORDERS_APPROVE: "Approve orders: payment and stock are secured.",
    Scope.ORDERS_SHIP: "Ship orders: money is taken.",
    Scope.ORDERS_COMPLETE: "Complete orders.",
    Scope.ORDERS_CANCEL: "Cancel orders.",
    Scope.ORDERS_EVERYONE: "Reach the orders of all customers, not of one.",
    Scope.STOCK_READ: "Read stock.",
    Scope.STOCK_WRITE: "Set and adjust stock.",
    Scope.OPERATE: "Act as an operator: a cancel says so, payloads may be decoded.",
    Scope.AUDIT_READ: "Read who did what.",
    Scope.METRICS_READ: "Scrape metrics.",
}

_ORDERS: Final = tuple(scope for scope in Scope if scope.startswith("orders:") and scope is not Scope.ORDERS_EVERYONE)
_STOCK: Final = (Scope.STOCK_READ, Scope.STOCK_WRITE)

#: Names for sets of scopes.
ROLES: Final[Mapping[str, frozenset[Scope]]] = {
    "customer": frozenset(
        (Scope.ORDERS_PLACE, Scope.ORDERS_READ, Scope.ORDERS_APPROVE, Scope.ORDERS_CANCEL, Scope.STOCK_READ)
    ),
    "merchant": frozenset((*_ORDERS, Scope.ORDERS_EVERYONE, *_STOCK)),
    "warehouse": frozenset(
        (Scope.ORDERS_READ, Scope.ORDERS_SHIP, Scope.ORDERS_COMPLETE, Scope.ORDERS_EVERYONE, *_STOCK)
    ),
    "operator": frozenset((*_ORDERS, Scope.ORDERS_EVERYONE, *_STOCK, Scope.OPERATE, Scope.METRICS_READ)),
    "auditor": frozenset((Scope.ORDERS_READ, Scope.ORDERS_EVERYONE, Scope.STOCK_READ, Scope.AUDIT_READ)),
    "scraper": frozenset((Scope.METRICS_READ,)),
}

#: What a client's command on an order needs.
COMMAND_SCOPES: Final[Mapping[str, Scope]] = {
    "place": Scope.ORDERS_PLACE,
    "approve": Scope.ORDERS_APPROVE,
    "ship": Scope.ORDERS_SHIP,
    "complete": Scope.ORDERS_COMPLETE,
    "cancel": Scope.ORDERS_CANCEL,
}

#: CloudEvents' authcontext extension, its ``authtype``.
AuthType = Literal["app_user", "service_account", "api_key", "system", "unauthenticated", "unknown"]


class Actor(Model):
    """Who asked for a command, as events, commands and logs name it. ``id`` is opaque; None: OrderFlow itself."""

    type: AuthType
    id: str | None = None


#: OrderFlow itself: the workflow, the sweep, reconciliation.
SYSTEM: Final = Actor(type="system")


@dataclass(frozen=True, slots=True)
class Customer:
    """Only the orders of this customer."""

    customer_id: str


@dataclass(frozen=True, slots=True)
class Everyone:
    """The orders of all customers. Only the scope ``orders:everyone`` makes one for a client."""


#: Whose orders a query may see or move.
Owner = Customer | Everyone
EVERYONE: Final = Everyone()


def owned_by(owner: Owner) -> str | None:
    """As SQL is given it: the customer; None: everyone."""
    return owner.customer_id if isinstance(owner, Customer) else None


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller that is known. ``customer_id``: the one customer whose orders it reaches; None: it is bound to none."""

    id: str
    type: AuthType
    scopes: frozenset[Scope]
    customer_id: str | None = None

    @property
    def actor(self) -> Actor:
        """As what it does is recorded."""
        return Actor(type=self.type, id=self.id)

    @property
    def owner(self) -> Owner:
        """Whose orders it reaches. Raises ValueError where it reaches nobody's: see ``reaches_orders``."""
        if self.customer_id is not None:
            return Customer(self.customer_id)
        if Scope.ORDERS_EVERYONE not in self.scopes:
            raise ValueError("a principal without a customer reaches no orders without orders:everyone")
        return EVERYONE

    @property
    def reaches_orders(self) -> bool:
        """Whether there is anybody whose orders it reaches."""
        return self.customer_id is not None or Scope.ORDERS_EVERYONE in self.scopes


#: Whoever calls while authentication is off, on loopback.
ANYBODY: Final = Principal("anybody", "unauthenticated", frozenset(Scope))


def scopes_of(roles: Iterable[str], scopes: Iterable[str]) -> frozenset[Scope]:
    """The scopes of roles, and further ones. Raises ValueError that names what is neither."""
    found: set[Scope] = set()
    for role in roles:
        if role not in ROLES:
            raise ValueError(f"there is no role {role!r}: there are {', '.join(ROLES)}")
        found |= ROLES[role]
    for scope in scopes:
        if scope not in set(Scope):
            raise ValueError(f"there is no scope {scope!r}: there are {', '.join(Scope)}")
        found.add(Scope(scope))
    return frozenset(found)


def identity_of(namespace: UUID, principal: Principal, key: str) -> UUID:
    """The id that a principal's key stands for: nobody else's key, whatever its text, stands for the same."""
    return uuid5(namespace, json.dumps([principal.id, key], separators=(",", ":")))
