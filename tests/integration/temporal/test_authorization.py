"""Temporal's own authorization, as docs/operating.md has it: who has no bearer reaches nothing.

On the server that production runs, which `make chaos-strict` builds; skipped where it was not.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import SecretStr
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orderflow.bootstrap import SetupError, setup_search_attributes
from orderflow.settings import Settings
from orderflow.stack.supervisor import Supervisor
from orderflow.temporal.client import connect
from orderflow.temporal.names import ORDER_WORKFLOW, ORDERS_QUEUE, PAYMENTS_QUEUE
from support.stack import Databases, session_folder
from support.world import a_world
from tools.chaos.strict import NAMESPACE, StrictTemporal, TemporalOnPostgres, is_built

pytestmark = [
    pytest.mark.skipif(not is_built(), reason="`make chaos-strict` has not built Temporal's server here"),
    pytest.mark.timeout(300),
]


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Issuer:
    """Signs bearers, and serves the key that they are verified with."""

    def __init__(self) -> None:
        self._key: RSAPrivateKey = generate_private_key(public_exponent=65537, key_size=2048)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> "Issuer":
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/jwks.json"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": "1",
            "n": _base64(numbers.n.to_bytes(256, "big")),
            "e": _base64(numbers.e.to_bytes(3, "big")),
        }
        body = json.dumps({"keys": [key]}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    def bearer(self, *permissions: str, **claims: Any) -> str:
        """A bearer with these permissions: ``<namespace>:<role>``."""
        now = int(time.time())
        said = {"sub": "test", "aud": "temporal", "iat": now, "exp": now + 600, "permissions": permissions, **claims}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "1"}, said)
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


class Guarded:
    """A running server, and who may sign for it."""

    def __init__(self, address: str, issuer: Issuer) -> None:
        self.address = address
        self.issuer = issuer

    async def client(self, bearer: str | None) -> Client:
        """One that connects when it is first used."""
        return await Client.connect(self.address, namespace=NAMESPACE, api_key=bearer, tls=False, lazy=True)


@pytest_asyncio.fixture(scope="module")
async def guarded() -> AsyncIterator[Guarded]:
    async with (
        session_folder() as folder,
        Issuer() as issuer,
        TemporalOnPostgres(folder, lambda _: None, issuer.url) as temporal,
    ):
        server = StrictTemporal(temporal, folder, issuer.bearer("temporal-system:admin", "default:admin"))
        supervisor = Supervisor(Path(folder) / "logs")
        await supervisor.start(server.spec())
        try:
            yield Guarded(server.address, issuer)
        finally:
            await supervisor.stop()


async def _poll(client: Client) -> None:
    queue = TaskQueue(name=PAYMENTS_QUEUE)
    request = PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity="a stranger")
    await client.workflow_service.poll_activity_task_queue(request)


async def _list(client: Client) -> None:
    async for _ in client.list_workflows():
        return


@pytest.mark.parametrize("who", ["nobody", "forged", "of another audience", "expired", "without permissions"])
async def test_who_has_no_good_bearer_reaches_nothing(guarded: Guarded, who: str) -> None:
    stranger = Issuer()
    permitted = ("default:admin", "temporal-system:admin")
    bearers = {
        "nobody": None,
        "forged": stranger.bearer(*permitted),
        "of another audience": guarded.issuer.bearer(*permitted, aud="elsewhere"),
        "expired": guarded.issuer.bearer(*permitted, exp=int(time.time()) - 600),
        "without permissions": guarded.issuer.bearer(),
    }
    ours = await guarded.client(guarded.issuer.bearer("default:write"))
    run = await ours.start_workflow(ORDER_WORKFLOW, id=f"order-{uuid4()}", task_queue=ORDERS_QUEUE)
    theirs = await guarded.client(bearers[who])
    handle = theirs.get_workflow_handle(run.id)
    for act in (
        lambda: _list(theirs),
        lambda: handle.describe(),
        lambda: handle.fetch_history(),
        lambda: handle.signal("ship"),
        lambda: handle.terminate(),
        lambda: _poll(theirs),
        lambda: theirs.start_workflow(ORDER_WORKFLOW, id=f"order-{uuid4()}", task_queue=ORDERS_QUEUE),
    ):
        with pytest.raises((RPCError, RuntimeError)) as refused:
            await asyncio.wait_for(act(), 20)
        error = refused.value
        status = error.status if isinstance(error, RPCError) else None
        assert status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED) or (
            "unauthorized" in str(error).lower()
        )
    assert (await run.describe()).status is not None


async def test_an_order_goes_through_our_own_client_and_workers_with_a_key(
    guarded: Guarded, databases: Databases
) -> None:
    settings = Settings(
        _env_file=None,
        temporal_address=guarded.address,
        temporal_api_key=SecretStr(guarded.issuer.bearer("default:write")),
        temporal_tls=False,
        worker_graceful_shutdown_seconds=1,
    )
    with pytest.raises(SetupError, match="does not let us make search attributes"):
        await setup_search_attributes(settings, lambda _: None)
    admin = SecretStr(guarded.issuer.bearer("default:admin"))
    await setup_search_attributes(settings.model_copy(update={"temporal_api_key": admin}), lambda _: None)
    async with a_world(await connect(settings), databases, settings) as world:
        await world.stock(bread=10)
        handle = await world.place()
        await world.ask(handle, "approve")
        await world.reaches(handle, "FULFILLING")
        assert (await world.ask(handle, "ship"))["refusal"] is None
        await handle.result()
        assert await world.statuses(handle, "payments") == ["AUTHORIZED", "CAPTURED"]
    without = settings.model_copy(update={"temporal_api_key": None})
    client = await connect(without)
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle(handle.id).describe()
    assert refused.value.status is RPCStatusCode.PERMISSION_DENIED


async def test_our_processes_need_write_and_no_more(guarded: Guarded) -> None:
    ours = await guarded.client(guarded.issuer.bearer("default:write"))
    run = await ours.start_workflow(ORDER_WORKFLOW, id=f"order-{uuid4()}", task_queue=ORDERS_QUEUE)
    await run.signal("look")
    await _list(ours)
    reader = await guarded.client(guarded.issuer.bearer("default:read"))
    assert (await reader.get_workflow_handle(run.id).describe()).status is not None
    with pytest.raises(RPCError):
        await reader.get_workflow_handle(run.id).signal("look")
    await run.terminate()
