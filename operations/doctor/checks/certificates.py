"""Certificates that end soon: those in files of ours, and those that the servers we reach show."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509

from operations.doctor.check import Check, Checked, now
from operations.words import counted
from orderflow import urls
from orderflow.profiles import NoAddress
from orderflow.security.tls import client_context
from orderflow.settings import SERVICES, DatabaseRole, Settings

ABOUT: Final = "certificates"
#: So long before its end a certificate is named.
SOON: Final = timedelta(days=14)
#: For one server to show its certificate. Whether it answers at all is another check's.
SECONDS: Final = 3.0
_MOST_BYTES: Final = 1024 * 1024
#: How a client of Postgres asks for TLS, and how it is answered.
_SSL_REQUEST: Final = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_CERTIFICATES: Final = ("sslcert", "sslrootcert")


@dataclass(frozen=True, slots=True)
class Certificate:
    """``of``: whose it is, in words."""

    of: str
    ends_at: datetime


def checks(settings: Settings) -> list[Check]:
    """One line for all that are fine, and one for each that is not."""
    return [Check(ABOUT, lambda: _look(settings), "see the lines of the servers")]


async def _look(settings: Settings) -> Sequence[Checked]:
    found, lines = [], []
    for variable, path in _files(settings).items():
        try:
            found += _in_file(variable, path)
        except (OSError, ValueError) as error:
            lines.append(Checked(ABOUT, False, f"{variable}: {path} cannot be read: {error}", f"see {variable}"))
    for shown in await asyncio.gather(*(_shown(of, show) for of, show in _servers(settings).items())):
        found += [shown] if shown is not None else []
    ending = [one for one in found if one.ends_at - now() < SOON]
    lines += [_ending(one) for one in ending]
    if not lines and found:
        first = min(found, key=lambda one: one.ends_at)
        said = f"{counted(len(found), 'certificate')}, the first to end is {first.of}: {first.ends_at:%Y-%m-%d}"
        lines.append(Checked(ABOUT, True, said))
    return lines


def _ending(one: Certificate) -> Checked:
    left = one.ends_at - now()
    when = f"ends in {counted(left.days, 'day')}" if left > timedelta() else "has ended"
    fix = "put a new one in its place (docs/rotation.md#certificates)"
    return Checked(ABOUT, False, f"{one.of} {when}: {one.ends_at:%Y-%m-%d %H:%M} UTC", fix)


def _in_file(variable: str, path: Path) -> list[Certificate]:
    """The first to end of a file with one or several. Raises OSError and ValueError."""
    with path.open("rb") as file:
        loaded = x509.load_pem_x509_certificates(file.read(_MOST_BYTES))
    return [Certificate(f"{path} ({variable})", min(one.not_valid_after_utc for one in loaded))]


def _files(settings: Settings) -> dict[str, Path]:
    """The certificates in files, by the setting that names each."""
    fields = [
        "tls_cert_file",
        "tls_client_ca_file",
        *(f"{of}_{what}_file" for of in ("temporal_tls", "kafka_ssl") for what in ("ca", "cert")),
    ]
    named = {f"ORDERFLOW_{field.upper()}": getattr(settings, field) for field in fields}
    for variable, url in _database_urls(settings):
        query = parse_qs(urlsplit(url).query)
        named |= {f"{what} in {variable}": Path(query[what][-1]) for what in _CERTIFICATES if what in query}
    by_path = {path: variable for variable, path in reversed(named.items()) if path is not None and path.is_file()}
    return {variable: path for path, variable in by_path.items()}


def _servers(settings: Settings) -> dict[str, Callable[[], Awaitable[bytes]]]:
    """What shows the certificate (DER) of each server that is reached by TLS, by its name in words."""
    found: dict[str, Callable[[], Awaitable[bytes]]] = {}

    def add(of: str, host: str, port: int, context: ssl.SSLContext, *, postgres: bool = False) -> None:
        found[f"{of} at {host}:{port}"] = lambda: _certificate_of(host, port, context, postgres=postgres)

    with contextlib.suppress(NoAddress, ValueError):
        if _temporal_by_tls(settings):
            host, _, port = settings.address("temporal_address").rpartition(":")
            files = (settings.temporal_tls_ca_file, settings.temporal_tls_cert_file, settings.temporal_tls_key_file)
            add("Temporal", host, int(port), _trusting(client_context("", *files), alpn="h2"))
    with contextlib.suppress(NoAddress, ValueError):
        if "SSL" in settings.kafka_security_protocol.split("_"):
            password = settings.kafka_ssl_key_password.get_secret_value() if settings.kafka_ssl_key_password else None
            files = (settings.kafka_ssl_ca_file, settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file)
            for broker in settings.address("kafka_bootstrap_servers").split(","):
                host, _, port = broker.strip().rpartition(":")
                add("Kafka", host, int(port), _trusting(client_context("", *files, password)))
    for of, field in (
        ("the API", "api_url"),
        ("the Web UI", "temporal_ui_url"),
        ("the payment gateway", "gateway_url"),
    ):
        with contextlib.suppress(NoAddress, ValueError):
            parts = urlsplit(settings.address(field))
            if parts.scheme == "https" and parts.hostname:
                add(of, parts.hostname, parts.port or 443, _trusting(ssl.create_default_context()))
    for _, url in _database_urls(settings):
        parts = urlsplit(url)
        mode = parse_qs(parts.query).get("sslmode", ["prefer"])[-1]
        if parts.hostname and mode in ("require", "verify-ca", "verify-full"):
            context = _trusting(_of_url(url))
            add("Postgres", unquote(parts.hostname), parts.port or 5432, context, postgres=True)
    return found


def _database_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every database URL that is set, with its setting."""
    names = [f"{service}_{what}" for service in SERVICES for what in ("database_url", "database_direct_url")]
    names += [f"{service}_{role}_database_url" for service in SERVICES for role in get_args(DatabaseRole)]
    for name in names:
        if (url := getattr(settings, name, None)) is not None:
            yield f"ORDERFLOW_{name.upper()}", url.get_secret_value()


def _of_url(url: str) -> ssl.SSLContext:
    """With the client's certificate that a database URL names."""
    query = parse_qs(urlsplit(url).query)
    cert, key = (Path(query[what][-1]) if what in query else None for what in ("sslcert", "sslkey"))
    return client_context(urls.shown(url), None, cert, key)


def _temporal_by_tls(settings: Settings) -> bool:
    given = (
        settings.temporal_tls,
        settings.temporal_api_key,
        settings.temporal_tls_ca_file,
        settings.temporal_tls_cert_file,
        settings.temporal_tls_server_name,
        settings.temporal_config.tls,
    )
    return any(given)


def _trusting(context: ssl.SSLContext, *, alpn: str | None = None) -> ssl.SSLContext:
    """To look at any certificate, also one that has ended or that nobody knows; nothing is sent to its server."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


async def _shown(of: str, show: Callable[[], Awaitable[bytes]]) -> Certificate | None:
    """The certificate of a server; None: it shows none now, which another check says."""
    try:
        async with asyncio.timeout(SECONDS):
            der = await show()
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return None
    return Certificate(f"the certificate of {of}", x509.load_der_x509_certificate(der).not_valid_after_utc)


async def _certificate_of(host: str, port: int, context: ssl.SSLContext, *, postgres: bool) -> bytes:
    """Raises OSError, also TimeoutError, and ValueError where it shows none."""
    _, writer = reader_and_writer = await asyncio.open_connection(host, port)
    try:
        if postgres:
            writer.write(_SSL_REQUEST)
            if await reader_and_writer[0].readexactly(1) != b"S":
                raise ValueError("it speaks no TLS")
        await writer.start_tls(context, server_hostname=host)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if not der:
        raise ValueError("it shows no certificate")
    return bytes(der)
