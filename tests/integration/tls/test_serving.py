"""What listens for clients of ours, over TLS: the health port, the API and the codec server, and a new certificate."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from orderflow.security import keyring, sealing, tls
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.telemetry.health import Health, serve_health
from support.certificates import Authority
from support.waiting import until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 0.0)


def settings(authority: Authority, *, mutual: bool = False) -> Settings:
    return Settings(
        _env_file=None,
        tls_cert_file=authority.cert("server"),
        tls_key_file=authority.key("server"),
        tls_client_ca_file=authority.cert("ca") if mutual else None,
    )


def client_context(authority: Authority, *, ours: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert("ca"))
    if ours:
        context.load_cert_chain(authority.cert("client"), authority.key("client"))
    return context


@asynccontextmanager
async def health_port(known: Settings) -> AsyncIterator[int]:
    port, stopping = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve_health(Health(), "127.0.0.1", port, stopping, tls=known.server_context()))

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await until(answers)
    try:
        yield port
    finally:
        stopping.set()
        await serving


async def serial(authority: Authority, port: int) -> str:
    """Of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(authority))
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.close()


async def get(port: int, context: ssl.SSLContext, path: str = "/health/live") -> int:
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=5) as client:
        return (await client.get(f"https://127.0.0.1:{port}{path}")).status_code


async def test_a_new_certificate_is_shown_without_a_restart(authority: Authority) -> None:
    async with health_port(settings(authority)) as port:
        assert await get(port, client_context(authority)) == 200
        before = await serial(authority, port)
        assert await serial(authority, port) == before
        authority.renew("server")
        assert await serial(authority, port) != before


async def test_a_certificate_that_cannot_be_used_changes_nothing(authority: Authority) -> None:
    async with health_port(settings(authority)) as port:
        before = await serial(authority, port)
        whole = authority.cert("server").read_bytes()
        for content in (b"", b"no certificate\n", authority.cert("elsewhere").read_bytes()):  # and one without its key
            authority.cert("server").write_bytes(content)
            assert await serial(authority, port) == before
        authority.cert("server").write_bytes(whole)
        authority.renew("server")
        assert await serial(authority, port) != before


async def test_only_clients_with_a_certificate_are_let_in_where_one_is_asked_for(authority: Authority) -> None:
    async with health_port(settings(authority, mutual=True)) as port:
        assert await get(port, client_context(authority, ours=True)) == 200
        with pytest.raises(httpx.TransportError):
            await get(port, client_context(authority))


@pytest.mark.parametrize("lacking", ["cert", "key"])
def test_a_certificate_needs_its_key(authority: Authority, lacking: str) -> None:
    given: dict[str, Any] = {"tls_cert_file": authority.cert("server"), "tls_key_file": authority.key("server")}
    del given[f"tls_{lacking}_file"]
    with pytest.raises(ValidationError, match=f"ORDERFLOW_TLS_{lacking.upper()}_FILE is not"):
        Settings(_env_file=None, **given)


def test_files_that_cannot_be_served_stop_the_process_at_its_start(authority: Authority) -> None:
    with pytest.raises(ValidationError, match="ORDERFLOW_TLS_CLIENT_CA_FILE is set, and ORDERFLOW_TLS_CERT_FILE is no"):
        Settings(_env_file=None, tls_client_ca_file=authority.cert("ca"))
    with pytest.raises(ValidationError, match=r"ORDERFLOW_TLS_CERT_FILE: .*elsewhere\.pem cannot be used with"):
        Settings(_env_file=None, tls_cert_file=authority.cert("elsewhere"), tls_key_file=authority.key("server"))
    authority.key("server").chmod(0o644)
    with pytest.raises(ValidationError, match=r"ORDERFLOW_TLS_KEY_FILE: .*has mode 0644"):
        settings(authority)


def _api(folder: Path) -> dict[str, str]:
    sealing.make_keys(folder / "token.pem", folder / "token.pub.pem")
    nowhere = "postgresql://x@127.0.0.1:9/x"
    return {
        "TOKEN_PUBLIC_KEY_FILE": str(folder / "token.pub.pem"),
        "ORDERS_DATABASE_URL": nowhere,
        "INVENTORY_DATABASE_URL": nowhere,
        "TEMPORAL_ADDRESS": "127.0.0.1:9",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "API_AUTHENTICATION": "off",
    }


def _codec(folder: Path) -> dict[str, str]:
    keyring.create_key(folder / "keyring")
    return {"PAYLOAD_KEYRING_FILE": str(folder / "keyring"), "CODEC_AUTHENTICATION": "off"}


@contextmanager
def running(command: str, log: Path, **given: str) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
    environment |= {f"ORDERFLOW_{name}": value for name, value in given.items()}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "cli.main", command], env=environment, cwd=log.parent, stdout=out, stderr=out
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize(("command", "more"), [("api", _api), ("codec", _codec)])
async def test_the_processes_serve_tls(
    authority: Authority, tmp_path: Path, command: str, more: Callable[[Path], dict[str, str]]
) -> None:
    port = free_port()
    given = {
        f"{command.upper()}_PORT": str(port),
        "TLS_CERT_FILE": str(authority.cert("server")),
        "TLS_KEY_FILE": str(authority.key("server")),
    }

    async def answers() -> bool:
        try:
            return await get(port, client_context(authority)) < 500
        except httpx.TransportError:
            return False

    log = tmp_path / "process.log"
    with running(command, log, **given, **more(tmp_path)):
        try:
            await until(answers, seconds=30)
        except TimeoutError:
            raise AssertionError(log.read_text()) from None
        before = await serial(authority, port)
        authority.renew("server")

        async def is_new() -> bool:
            return await serial(authority, port) != before

        await until(is_new, seconds=10)
        with pytest.raises(httpx.TransportError):
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                await client.get(f"http://127.0.0.1:{port}/health/live")
    said = log.read_text()
    assert "authentication_off" in said
    assert f"ORDERFLOW_{command.upper()}_AUTHENTICATION" in said
