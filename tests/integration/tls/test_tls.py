"""Temporal, Kafka and Postgres over TLS: the real servers behind a listener that speaks nothing else.

What must hold: the right certificates connect, and a wrong one, or none where one is asked for, does not.
"""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import pytest
import pytest_asyncio
from aiokafka.errors import KafkaError
from pydantic import SecretStr, ValidationError

from orderflow import bootstrap
from orderflow.bootstrap import SetupStep
from orderflow.domain.errors import Unavailable
from orderflow.settings import SERVICES, Settings
from orderflow.stack.ports import free_port
from orderflow.stream.clients import make_producer
from orderflow.stream.topic import check_topic, ensure_topic
from orderflow.temporal.client import connect
from support.api import a_namespace
from support.certificates import KEY_PASSWORD, Authority
from support.kafka_proxy import KafkaProxy
from support.paths import ROOT
from support.proxy import a_proxy, postgres_tls
from support.stack import LOGINS, Databases
from support.terminal import Terminal

SOON = timedelta(seconds=3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture(scope="module")
async def temporal_tls(authority: Authority, temporal_server: str) -> AsyncIterator[str]:
    """Temporal behind mutual TLS."""
    async with a_proxy(temporal_server, authority.server_context(mutual=True, alpn="h2")) as (_, address):
        yield address


@pytest_asyncio.fixture(scope="module")
async def kafka_tls(authority: Authority, broker: str) -> AsyncIterator[str]:
    """The broker behind mutual TLS."""
    proxy = KafkaProxy(free_port(), authority.server_context(mutual=True))
    proxy.broker_port = int(broker.rpartition(":")[2])
    async with proxy:
        yield proxy.address


def through(url: str, port: int, **query: object) -> str:
    """``url`` by way of another port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}", query=urlencode(query)).geturl()


def mutual(authority: Authority, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}_ca_file": authority.cert("ca"),
        f"{prefix}_cert_file": authority.cert("client"),
        f"{prefix}_key_file": authority.key("client"),
    }


async def test_temporal_is_reached_by_mutual_tls(authority: Authority, temporal_tls: str) -> None:
    settings = Settings(temporal_address=temporal_tls, **mutual(authority, "temporal_tls"))
    client = await connect(settings, answer_within=SOON)
    assert await client.service_client.check_health()


@pytest.mark.parametrize("lacking", ["ca_file", "cert_file", "all"])
async def test_temporal_is_not_reached_with_less(authority: Authority, temporal_tls: str, lacking: str) -> None:
    given = mutual(authority, "temporal_tls")
    left_out = {"ca_file": ("ca",), "cert_file": ("cert", "key"), "all": ("ca", "cert", "key")}[lacking]
    for part in left_out:
        del given[f"temporal_tls_{part}_file"]
    with pytest.raises(Unavailable):
        await connect(Settings(temporal_address=temporal_tls, temporal_tls=True, **given), answer_within=SOON)


async def test_temporals_certificate_may_have_another_name(authority: Authority, temporal_server: str) -> None:
    async with a_proxy(temporal_server, authority.server_context("elsewhere", alpn="h2")) as (_, address):
        settings = Settings(temporal_address=address, temporal_tls_ca_file=authority.cert("ca"))
        with pytest.raises(Unavailable):
            await connect(settings, answer_within=SOON)
        named = settings.model_copy(update={"temporal_tls_server_name": "another.name"})
        assert await (await connect(named, answer_within=SOON)).service_client.check_health()


@pytest.mark.parametrize("key", ["client", "locked"])
async def test_kafka_is_reached_by_mutual_tls(authority: Authority, kafka_tls: str, key: str) -> None:
    settings = Settings(
        kafka_bootstrap_servers=kafka_tls,
        kafka_security_protocol="SSL",
        kafka_topic=f"tls-{key}",
        kafka_partitions=1,
        **(mutual(authority, "kafka_ssl") | {"kafka_ssl_key_file": authority.key(key)}),
        kafka_ssl_key_password=SecretStr(KEY_PASSWORD) if key == "locked" else None,
    )
    assert await ensure_topic(settings)
    producer = make_producer(settings)
    await producer.start()
    try:
        assert (await producer.send_and_wait(settings.kafka_topic, b"x")).offset == 0
    finally:
        await producer.stop()


@pytest.mark.parametrize("lacking", [("ca",), ("cert", "key")], ids="-".join)
async def test_kafka_is_not_reached_with_less(authority: Authority, kafka_tls: str, lacking: tuple[str, ...]) -> None:
    given = mutual(authority, "kafka_ssl")
    for part in lacking:
        del given[f"kafka_ssl_{part}_file"]
    settings = Settings(kafka_bootstrap_servers=kafka_tls, kafka_security_protocol="SSL", **given)
    with pytest.raises(KafkaError):
        await check_topic(settings)


def test_a_file_that_cannot_be_used_is_named_at_the_start(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate\n")
    for prefix, secured in (("kafka_ssl", {"kafka_security_protocol": "SSL"}), ("temporal_tls", {})):
        given: dict[str, Any] = secured | mutual(authority, prefix)
        variable = f"ORDERFLOW_{prefix.upper()}"
        locked = given | {f"{prefix}_key_file": authority.key("locked")}
        with pytest.raises(ValidationError, match=rf"{variable}_CERT_FILE: .*client\.pem cannot be used with .*locked"):
            Settings(**locked)
        with pytest.raises(ValidationError, match=rf"{variable}_CA_FILE: .*no\.pem cannot be used"):
            Settings(**given | {f"{prefix}_ca_file": tmp_path / "no.pem"})


async def test_postgres_is_reached_by_its_url(authority: Authority, databases: Databases) -> None:
    """Setup too: dbmate reads the same parameters."""
    verified = {"sslmode": "verify-full", "sslrootcert": authority.cert("ca")}
    client = {"sslcert": authority.cert("client"), "sslkey": authority.key("client")}
    async with postgres_tls(databases.admin, authority.server_context(mutual=True)) as port:
        said: list[SetupStep] = []
        settings = Settings(
            orders_admin_url=through(databases.admin, port, **verified, **client),
            orders_database_url=through(databases.orders, port, **verified, **client),
            migrations_dir=ROOT / "migrations",
        )
        await bootstrap.setup_database(settings, "orders", said.append)
        assert SetupStep("migrations of orders", "nothing to apply") in said
        for query in (verified | client | {"sslrootcert": authority.cert("client")}, verified, {"sslmode": "disable"}):
            with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                await asyncpg.connect(through(databases.orders, port, **query), timeout=5)


async def test_a_profile_leads_to_all_of_it(
    authority: Authority,
    temporal_server: str,
    temporal_tls: str,
    kafka_tls: str,
    databases: Databases,
    tmp_path: Path,
) -> None:
    """`orderflow --profile far`, from a folder with nothing but that profile."""
    namespace = await a_namespace(temporal_server)
    verified = {"sslmode": "verify-full", "sslrootcert": authority.cert("ca")}
    async with postgres_tls(databases.admin, authority.server_context()) as port:
        profile: dict[str, object] = {
            "temporal_address": temporal_tls,
            "temporal_namespace": namespace,
            "kafka_bootstrap_servers": kafka_tls,
            "kafka_security_protocol": "SSL",
            "kafka_topic": "tls-profile",
            "orders_admin_url": through(databases.admin, port, **verified),
            "migrations_dir": ROOT / "migrations",
            **mutual(authority, "temporal_tls"),
            **mutual(authority, "kafka_ssl"),
        }
        for service in SERVICES:
            profile[f"{service}_database_url"] = through(databases.url(service), port, **verified)
        lines = (f"ORDERFLOW_{name.upper()}='{value}'\n" for name, value in profile.items())
        (tmp_path / ".env.far").write_text("".join(lines))
        terminal = Terminal(tmp_path)
        made = await terminal.run("--profile", "far", "setup")
        assert made.code == 0, made.err
        doctor = await terminal.run("--profile", "far", "doctor", "--json")
        shown = await terminal.run("profile", "show", "far")
    checks = {check["about"]: check for check in json.loads(doctor.out)["checks"]}
    reached = ("orders database", "payments database", "inventory database", "Temporal", "Kafka", "orders migrations")
    assert {about: checks[about]["ok"] for about in reached} == dict.fromkeys(reached, True), doctor.out
    assert f"ORDERFLOW_TEMPORAL_ADDRESS                   {temporal_tls}  (profile far)" in shown.out
    assert "sslmode=verify-full" in shown.out
    assert not any(f"{name}-password" in shown.out for names in LOGINS.values() for name in names)
