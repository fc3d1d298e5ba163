"""The roles that a process may have; each is the module of that name beside this one."""

from typing import Final

ROLES: Final = ("orders", "payments", "inventory", "relay", "tracking", "reconciliation")
