"""An issuer of access tokens on this machine: it publishes keys over HTTP, and a test says how it misbehaves."""

import asyncio
import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from orderflow.security.issuers import Issuer

AUDIENCE = "orderflow-tests"
#: Writes a whole HTTP answer to a path.
Answers = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def http_answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer as bytes."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class AnIssuer:
    """``keys`` by kid are what it publishes; ``asked`` are the paths that were fetched. Use ``an_issuer``."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {
            "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
            "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
            "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
        }
        self.published: list[dict[str, Any]] | None = None
        self.answers: Answers | None = None
        self.asked: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its name, the claim ``iss``."""
        return f"http://127.0.0.1:{self.port}"

    def trusted(self, **more: Any) -> Issuer:
        """As the settings name it."""
        return Issuer.model_validate({"issuer": self.url, "audience": AUDIENCE, "jwks_url": f"{self.url}/jwks", **more})

    def jwks(self) -> dict[str, Any]:
        """What it publishes."""
        keys = self.published
        return {"keys": [key.as_dict(private=False) for key in self.keys.values()] if keys is None else keys}

    def token(self, kid: str = "ed", alg: str = "EdDSA", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good but for what ``header`` and ``claims`` say; a claim of None is left out."""
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "nbf": now, "exp": now + 300, **claims}
        head = {"typ": "at+jwt", "alg": alg, "kid": kid, **(header or {})}
        said = {name: value for name, value in said.items() if value is not None}
        registry = JWSRegistry(algorithms=list(JWSRegistry.algorithms), strict_check_header=False)
        return jwt.encode(head, said, self.keys[kid], registry=registry, default_type=None)

    async def start(self, port: int = 0) -> None:
        """Listen, at the port of before if it is named."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            if self.answers is not None:
                await self.answers(path, writer)
            elif path == "/.well-known/openid-configuration":
                said = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
                writer.write(http_answer(json.dumps(said).encode()))
            else:
                writer.write(http_answer(json.dumps(self.jwks()).encode()))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def an_issuer() -> AsyncIterator[AnIssuer]:
    """An issuer that answers."""
    issuer = AnIssuer()
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()


def confused(token: str, key: RSAKey | ECKey | OKPKey, alg: str) -> str:
    """``token`` with an HMAC whose secret is a public key's text: what a verifier that confuses the two believes."""
    body = token.rpartition(".")[0]
    digest = hmac.digest(key.as_pem(private=False), body.encode(), alg.replace("HS", "sha"))
    return f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
