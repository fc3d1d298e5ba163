"""TLS files as the settings name them: tried when the settings are read, so a wrong one stops a process at once."""

import ssl
from pathlib import Path


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
