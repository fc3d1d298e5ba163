"""Files of TLS that settings name: a certificate is of no use without its key."""

from pathlib import Path

from orderflow.security.tls import client_context


def check_pair(prefix: str, cert: Path | None, key: Path | None) -> None:
    """``prefix``: what the variables of both begin with. Raises ValueError where one is set and the other is not."""
    if (cert is None) != (key is None):
        given, lacking = ("CERT", "KEY") if key is None else ("KEY", "CERT")
        raise ValueError(f"{prefix}_{given}_FILE is set, and {prefix}_{lacking}_FILE is not")


def check_client(
    prefix: str, ca: Path | None, cert: Path | None, key: Path | None, password: str | None = None
) -> None:
    """Files with which we are a client. Raises ValueError, which names the variable, where they cannot be used."""
    check_pair(prefix, cert, key)
    if ca or cert:
        client_context(prefix, ca, cert, key, password)
