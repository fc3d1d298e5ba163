"""TLS files as the settings name them: tried when the settings are read, so a wrong one stops a process at once."""

import ssl
import time
from pathlib import Path
from typing import Any, Final, Self

import structlog

from orderflow.security.secret_files import SecretFileError, read_bytes, stamp

#: How often it is looked whether a server's certificate has changed.
_LOOK_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


def client_context(
    prefix: str, ca: Path | None, cert: Path | None, key: Path | None, password: str | None = None
) -> ssl.SSLContext:
    """Verifies servers and their names: by ``ca``, else by the system's authorities; ``cert`` with ``key`` is ours.

    ``prefix``: what the variables of these files begin with. Raises ValueError, which names the variable, where a file
    cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{prefix}_CA_FILE: {ca} cannot be used: {error}") from error
    if cert is not None:
        try:
            # Without a password, an encrypted key must fail, and not ask on the terminal.
            context.load_cert_chain(cert, key, password or "")
        except OSError as error:
            raise ValueError(f"{prefix}_CERT_FILE: {cert} cannot be used with {key}: {error}") from error
    return context


class ServerContext(ssl.SSLContext):
    """For a server of ours: its certificate and key, and who signs its clients' certificates, read again when changed.

    Each new connection gets what the files hold then, looked at once a second at most; those that are open keep theirs.
    Files that cannot be used any more are logged, and change nothing.
    """

    def __new__(cls, *_: object) -> Self:
        """An ordinary context of a server."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """``client_ca``: only clients with a certificate it signed are let in; None: nobody is asked for one.

        Raises ValueError, which names the variable, where a file cannot be used.
        """
        super().__init__()
        self._files = (cert, key, client_ca)
        self._looked = time.monotonic()
        self._stamps = self._seen()
        self._current = _server_context(*self._files)

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """What event loops call for each connection."""
        self._look()
        return self._current.wrap_bio(*arguments, **more)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        stamps = self._seen()
        if stamps == self._stamps:
            return
        try:
            self._current = _server_context(*self._files)
        except ValueError as error:
            # Looked at again: certificate and key may be on their way, one after the other.
            log.error("certificate_unusable", error=str(error))
        else:
            self._stamps = stamps
            log.info("certificate_read", file=str(self._files[0]))

    def _seen(self) -> tuple[object, ...]:
        return tuple(stamp(path) for path in self._files if path is not None)


def _server_context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        read_bytes(key)
    except SecretFileError as error:
        raise ValueError(f"ORDERFLOW_TLS_KEY_FILE: {error}") from None
    try:
        context.load_cert_chain(cert, key, "")
    except OSError as error:
        raise ValueError(f"ORDERFLOW_TLS_CERT_FILE: {cert} cannot be used with {key}: {error}") from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise ValueError(f"ORDERFLOW_TLS_CLIENT_CA_FILE: {client_ca} cannot be used: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
