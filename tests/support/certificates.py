"""An authority for one test run, and what it signs: made with `openssl`, gone with the folder."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

KEY_PASSWORD = "key-test-password"
_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


class Authority:
    """``ca`` signs ``server`` (127.0.0.1), ``elsewhere`` (another.name) and ``client``; ``locked``: its key, locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if shutil.which("openssl") is None:
            pytest.skip("needs the command openssl to make certificates")
        self._openssl(
            "req", "-x509", *_key(self.key("ca")), "-out", self.cert("ca"), "-subj", "/CN=Tests", "-days", "2"
        )
        self._sign("server", _NAMES)
        self._sign("elsewhere", "subjectAltName=DNS:another.name")
        self._sign("client", "extendedKeyUsage=clientAuth")
        self._openssl(
            *("pkcs8", "-topk8", "-in", self.key("client"), "-out", self.key("locked")),
            *("-passout", f"pass:{KEY_PASSWORD}"),
        )

    def cert(self, name: str) -> Path:
        """The certificate's file."""
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Its key's file."""
        return self.folder / f"{name}.key"

    def renew(self, name: str, *, days: int = 2) -> None:
        """Another certificate and key in place of ``server`` or ``client``, which end in ``days``."""
        self._sign(name, _NAMES if name == "server" else "extendedKeyUsage=clientAuth", days)

    def server_context(self, name: str = "server", *, mutual: bool = False, alpn: str | None = None) -> ssl.SSLContext:
        """For a listener. ``mutual``: only clients with a certificate of ours."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert(name), self.key(name))
        if mutual:
            context.load_verify_locations(self.cert("ca"))
            context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            context.set_alpn_protocols([alpn])
        return context

    def _sign(self, name: str, extension: str, days: int = 2) -> None:
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"basicConstraints=CA:FALSE\n{extension}\n")
        self._openssl("req", "-new", *_key(self.key(name)), "-out", request, "-subj", f"/CN={name}")
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.cert("ca"), "-CAkey", self.key("ca"), "-CAcreateserial"),
            *("-out", self.cert(name), "-days", str(days), "-extfile", extensions),
        )

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)


def _key(file: Path) -> tuple[str | Path, ...]:
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file
