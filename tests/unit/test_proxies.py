"""What the environment says of proxies is read for the host that is asked, and is an error only where it counts."""

import httpx
import pytest

from orderflow.client import ApiClient, NoUrl
from orderflow.proxies import ProxyError, proxy_for, transport

SOCKS = {"ALL_PROXY": "socks5://me:S3cr3t@proxy:1080"}
API = httpx.URL("http://api.example.com:8080")


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        (API, {}, None),
        (API, {"http_proxy": "http://p:1"}, "http_proxy"),
        (API, {"HTTP_PROXY": "p:1", "ALL_PROXY": "http://q:1"}, "HTTP_PROXY"),
        (API, {"HTTPS_PROXY": "http://p:1"}, None),
        (API, {"ALL_PROXY": "http://p:1", "NO_PROXY": "other.com, example.com"}, None),
        (API, {"ALL_PROXY": "http://p:1", "NO_PROXY": ".example.com"}, None),
        (API, {"ALL_PROXY": "http://p:1", "NO_PROXY": "*.example.com"}, None),
        (API, {"ALL_PROXY": "http://p:1", "NO_PROXY": "ample.com,::1,fd00::/8,[fe80::1],10.0.0.0/8,,"}, "ALL_PROXY"),
        (API, {"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        (httpx.URL("http://10.1.2.3"), {"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        (httpx.URL("http://[fd00::1]"), {"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, None),
        (httpx.URL("http://[fd00::1]"), {"ALL_PROXY": "http://p:1", "NO_PROXY": "[fd00::1]"}, None),
        (httpx.URL("http://[fd00::1]"), {"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::2"}, "ALL_PROXY"),
        (httpx.URL("http://localhost:1"), SOCKS, None),
        (httpx.URL("http://127.0.0.2:1"), SOCKS, None),
        (httpx.URL("http://[::1]:1"), SOCKS, None),
    ],
)
def test_the_proxy_of_a_host_is_the_one_that_the_environment_names_for_it(
    url: httpx.URL, environment: dict[str, str], found: str | None
) -> None:
    named = proxy_for(url, environment)
    assert (named[0] if named else None) == found


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", SOCKS["ALL_PROXY"]),
        ("all_proxy", "socks4://me:S3cr3t@proxy"),
        ("http_proxy", "ftp://me:S3cr3t@proxy"),
        ("HTTP_PROXY", "http://me:1/S3cr3t#@proxy:99999999"),
        ("HTTP_PROXY", "http://me:S3cr3t@proxy:port"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ProxyError, match=rf"{variable} .* is no http:// or https:// proxy") as refused:
        transport(API)
    with pytest.raises(NoUrl, match=variable):
        ApiClient(str(API))
    assert "S3cr3t" not in str(refused.value)
    for reached in ("http://localhost:8080", "http://[::1]:8080"):
        async with ApiClient(reached):
            pass
    monkeypatch.setenv("NO_PROXY", "::1,[fe80::1],example.com")
    async with ApiClient(str(API)):
        pass


def test_certificates_that_cannot_be_read_are_an_error_that_names_their_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ProxyError, match="SSL_CERT_FILE"):
        transport(httpx.URL("https://127.0.0.1"))
