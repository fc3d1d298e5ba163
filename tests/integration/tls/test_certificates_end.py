"""``orderflow doctor`` names certificates that end soon: ours, and those of the servers."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from operations.doctor.check import Checked
from operations.doctor.checks.certificates import checks
from orderflow.settings import Settings
from support.certificates import Authority
from support.proxy import a_proxy, postgres_tls
from support.stack import Databases


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.renew("server", days=60)
    made.renew("client", days=60)
    return made


async def examined(settings: Settings) -> Sequence[Checked]:
    [check] = checks(settings)
    return await check.look()


def serving(authority: Authority) -> Settings:
    return Settings(_env_file=None, tls_cert_file=authority.cert("server"), tls_key_file=authority.key("server"))


async def test_without_tls_nothing_is_said() -> None:
    assert await examined(Settings(_env_file=None)) == []


@pytest.mark.parametrize(("days", "fine"), [(60, True), (15, True), (14, False), (2, False)])
async def test_our_certificate_is_named_a_fortnight_before_its_end(authority: Authority, days: int, fine: bool) -> None:
    authority.renew("server", days=days)
    [line] = await examined(serving(authority))
    assert line.ok == fine
    assert f"{authority.cert('server')} (ORDERFLOW_TLS_CERT_FILE)" in line.detail
    assert fine or f"ends in {days - 1} day" in line.detail


async def test_a_servers_certificate_is_named_also_where_ours_are_fine(
    authority: Authority, temporal_server: str, databases: Databases
) -> None:
    context = authority.server_context(alpn="h2")
    async with a_proxy(temporal_server, context) as (_, address), postgres_tls(databases.orders, context) as port:
        settings = Settings(
            _env_file=None,
            temporal_address=address,
            temporal_tls=True,
            orders_database_url=f"postgresql://x@127.0.0.1:{port}/orders?sslmode=require",
        )
        [line] = await examined(settings)
        assert (line.ok, "2 certificates" in line.detail) == (True, True)
        authority.renew("server", days=3)
        context.load_cert_chain(authority.cert("server"), authority.key("server"))
        lines = await examined(settings)
    assert [line.ok for line in lines] == [False, False]
    assert f"the certificate of Temporal at {address} ends in 2 days" in lines[0].detail
    assert f"the certificate of Postgres at 127.0.0.1:{port} ends in 2 days" in lines[1].detail


async def test_a_server_that_asks_for_our_certificate_is_looked_at_too(
    authority: Authority, temporal_server: str
) -> None:
    authority.renew("server", days=3)
    context = authority.server_context(mutual=True, alpn="h2")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there the server's certificate is not enough
    async with a_proxy(temporal_server, context) as (_, address):
        lines = await examined(
            Settings(
                _env_file=None,
                temporal_address=address,
                temporal_tls_cert_file=authority.cert("client"),
                temporal_tls_key_file=authority.key("client"),
            )
        )
    assert [line.detail.split(" ends")[0] for line in lines] == [f"the certificate of Temporal at {address}"]
