"""Temporal's API key in a file: a new one reaches the clients that run."""

import asyncio
import weakref
from pathlib import Path

import pytest

from orderflow.security import secret_files
from orderflow.security.secret_files import FiledSecret, write_secret
from orderflow.temporal import client as room
from support.waiting import until


class _Client:
    api_key: str | None = "first"


async def test_a_new_key_reaches_a_client_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_files, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(room, "_KEY_SECONDS", 0.01)
    write_secret(tmp_path / "key", "first")
    clients = [_Client()]
    secret = FiledSecret(tmp_path / "key", "ORDERFLOW_TEMPORAL_API_KEY_FILE")
    following = asyncio.create_task(room._follow(weakref.ref(clients[0]), secret))  # type: ignore[arg-type]
    write_secret(tmp_path / "key", "second", replace=True)

    async def has_it() -> bool:
        return clients[0].api_key == "second"

    await until(has_it, seconds=5)
    clients.clear()
    await asyncio.wait_for(following, 5)
