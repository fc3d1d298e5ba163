"""Connecting to Temporal, as the settings say."""

import asyncio
import re
import weakref
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import Client, RetryConfig
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.converter import DataConverter
from temporalio.service import GrpcCompression, TLSConfig

from orderflow.domain.errors import AccessDenied, Unavailable
from orderflow.proxies import is_loopback
from orderflow.security.sealing import KeyFileError
from orderflow.security.secret_files import FiledSecret
from orderflow.settings import Settings
from orderflow.telemetry import spans
from orderflow.temporal.converter import data_converter, keyring_of

#: How often it is looked whether the file with the API key has another one.
_KEY_SECONDS: Final = 5.0
#: Kept, or the event loop would forget them.
_FOLLOWING: Final[set[asyncio.Task[None]]] = set()


async def connect(settings: Settings, *, answer_within: timedelta | None = None) -> Client:
    """A client for workers, or, with ``answer_within``, one that gives up a call early (the API).

    ``rpc_timeout`` alone is per attempt: a refused connection would take 9 s. Raises Unavailable when the server
    cannot be reached, and where a TLS file or the keyring cannot be read; NoAddress and TemporalConfigError by what
    the settings say.
    """
    address, own, converter = settings.address("temporal_address"), settings.temporal_config, converter_of(settings)
    api_key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else own.api_key
    retry = RetryConfig(max_elapsed_time_millis=int(answer_within.total_seconds() * 1000)) if answer_within else None
    try:
        client = await Client.connect(
            address,
            namespace=settings.temporal_namespace,
            api_key=api_key,
            tls=_tls(settings, own.tls, has_key=api_key is not None),
            rpc_metadata=own.metadata,
            data_converter=converter,
            retry_config=retry,
            interceptors=_interceptors(),
            grpc_compression=GrpcCompression.GZIP if settings.temporal_compression else GrpcCompression.NONE,
        )
    except (RuntimeError, ValueError) as error:  # the SDK has no type of its own for it
        refused = re.search(r"Unauthenticated|PermissionDenied", str(error)) is not None
        raise (AccessDenied if refused else Unavailable)("temporal", f"{plain(error)} at {address}") from error
    if isinstance(settings.temporal_api_key, FiledSecret):
        following = asyncio.create_task(_follow(weakref.ref(client), settings.temporal_api_key), name="temporal-key")
        _FOLLOWING.add(following)
        following.add_done_callback(_FOLLOWING.discard)
    return client


async def _follow(reference: weakref.ref[Client], secret: FiledSecret) -> None:
    """Give a client the key that stands in the file, for as long as somebody has that client."""
    while (client := reference()) is not None:
        key = secret.get_secret_value()
        if client.api_key != key:
            client.api_key = key
        del client
        await asyncio.sleep(_KEY_SECONDS)


def converter_of(settings: Settings) -> DataConverter:
    """What production's clients, workers and replayers read and write with. Raises Unavailable without the keyring."""
    try:
        keyring = keyring_of(settings.payload_keyring_file)
        return data_converter(keyring, takes_plain=settings.payload_plain == "take")
    except KeyFileError as error:
        raise Unavailable("temporal", f"the payload keyring cannot be used: {error}") from error


def plain(error: BaseException) -> str:
    """What the SDK says when it finds no server, or none that takes it, without the layers it came through."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error).partition("\n")[0]
    found = re.search(r'message: "([^"]+)"', said)
    return found[1][0].lower() + found[1][1:].rstrip(".") if found else said[:200]


def _interceptors() -> Sequence[ClientInterceptor]:
    if not spans.are_on():
        return ()
    from orderflow.telemetry.tracing import temporal_interceptors

    return temporal_interceptors()


#: With one of these given, nothing of TLS comes from elsewhere.
_TLS_SETTINGS = frozenset(name for name in Settings.model_fields if name.startswith("temporal_tls"))


def _stays_here(settings: Settings) -> bool:
    """Whether a key may go without TLS: it was said so, and it does not leave this machine."""
    host = settings.address("temporal_address").rpartition(":")[0].strip("[]")
    return "temporal_tls" in settings.model_fields_set and is_loopback(host)


def _tls(settings: Settings, elsewhere: bool | TLSConfig | None, *, has_key: bool) -> bool | TLSConfig:
    """``elsewhere``: what Temporal's own configuration says, for where our settings say nothing."""
    ca, cert, key, name = (
        settings.temporal_tls_ca_file,
        settings.temporal_tls_cert_file,
        settings.temporal_tls_key_file,
        settings.temporal_tls_server_name,
    )
    if elsewhere is not None and not settings.model_fields_set & _TLS_SETTINGS:
        return elsewhere
    if not (ca or cert or name):
        return settings.temporal_tls or (has_key and not _stays_here(settings))
    try:
        return TLSConfig(
            server_root_ca_cert=ca.read_bytes() if ca else None,
            domain=name,
            client_cert=cert.read_bytes() if cert else None,
            client_private_key=key.read_bytes() if key else None,
        )
    except OSError as error:
        raise Unavailable("temporal", f"a TLS file cannot be read: {error}") from error
