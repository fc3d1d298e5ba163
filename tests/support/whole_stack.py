"""Whole stacks for the tests, as ``orderflow up`` runs them, on free ports: every process real, one stack at a time."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orderflow.bootstrap import admin_url
from orderflow.settings import Service, Settings
from orderflow.stack.stack import EmbeddedStack
from support.paths import MIGRATIONS


class WholeStacks:
    """The one that files share, and those of files that need one of their own. Two would take each other's CPU."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._shared: EmbeddedStack | None = None

    async def shared(self) -> EmbeddedStack:
        """The shared one, started if it does not run. Raises StackError."""
        if self._shared is None:
            stack = self._new()
            await stack.__aenter__()
            self._shared = stack
        return self._shared

    @asynccontextmanager
    async def apart(self, **settings: Any) -> AsyncIterator[EmbeddedStack]:
        """A fresh one with these settings, while the shared one is stopped. Raises StackError."""
        await self.stop()
        async with self._new(**settings) as stack:
            yield stack

    async def stop(self) -> None:
        """Stop the shared one, if it runs."""
        stack, self._shared = self._shared, None
        if stack is not None:
            await stack.__aexit__(None, None, None)

    def _new(self, **settings: Any) -> EmbeddedStack:
        given: dict[str, Any] = {"migrations_dir": MIGRATIONS, "worker_graceful_shutdown_seconds": 5, **settings}
        home = self._folder / f"whole-stack-{next(self._numbers)}"
        return EmbeddedStack(Settings(**given), home, ports="free", durable=False)


def owner_url(stack: EmbeddedStack, service: Service) -> str:
    """The database of ``service`` in this stack, as its owner: no grant and no limit of a role stands in the way."""
    server = urlsplit(admin_url(stack.settings, service))
    return urlunsplit(server._replace(path=f"/{service}"))
