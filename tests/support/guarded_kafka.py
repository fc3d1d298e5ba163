"""Apache Kafka that asks who comes and what they may: SCRAM-SHA-512 by TLS, and ACLs, as docs/kafka.md has it."""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pydantic import SecretStr

from orderflow.settings import Settings
from orderflow.stack.apache import ApacheBroker
from orderflow.stack.probes import port_answers
from support.certificates import Authority

ITERATIONS: Final = 8192
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"

__all__ = ["AclOperation", "GuardedBroker", "ResourceType"]

#: What a user may do: (resource type, its name, operation).
Right = tuple[ResourceType, str, AclOperation]


class GuardedBroker(ApacheBroker):
    """One with ``users``, each with a password of its own; ``setup`` may do everything, the others nothing."""

    def __init__(self, home: Path, port: int, controller_port: int, users: Iterable[str], authority: Authority) -> None:
        super().__init__(home, port, controller_port)
        self._authority = authority
        self.passwords: Mapping[str, str] = {
            name: secrets.token_hex(16) for name in ("broker", "controller", "setup", *users)
        }

    def as_user(self, settings: Settings, name: str, password: str | None = None) -> Settings:
        """``settings`` of a process that is this user."""
        return settings.model_copy(
            update={
                "kafka_bootstrap_servers": self.bootstrap_servers,
                "kafka_security_protocol": "SASL_SSL",
                "kafka_ssl_ca_file": self._authority.cert("ca"),
                "kafka_sasl_mechanism": "SCRAM-SHA-512",
                "kafka_sasl_username": name,
                "kafka_sasl_password": SecretStr(password or self.passwords[name]),
            }
        )

    async def allow(self, name: str, *rights: Right) -> None:
        """Give ``name`` these rights, and see that the broker has them."""
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(self._authority.cert("ca")),
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "setup",
                "sasl.password": self.passwords["setup"],
            }
        )
        bindings = [
            AclBinding(kind, of, ResourcePatternType.LITERAL, f"User:{name}", "*", operation, AclPermissionType.ALLOW)
            for kind, of, operation in rights
        ]
        for made in admin.create_acls(bindings).values():
            await asyncio.to_thread(made.result, 20)

    async def _answers(self) -> bool:
        return await port_answers(self.bootstrap_servers)

    def _format_options(self) -> list[str]:
        options = []
        for name, password in self.passwords.items():
            salt = secrets.token_bytes(16)
            salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
            said = f'name={name},salt="{_text(salt)}",saltedpassword="{_text(salted)}",iterations={ITERATIONS}'
            options += ["--add-scram", f"SCRAM-SHA-512=[{said}]"]
        return options

    def _configuration(self) -> dict[str, object]:
        own = super()._configuration()
        listeners = {name: str(own[name]).replace("PLAINTEXT://", "SASL_SSL://") for name in _LISTENERS}
        controller = self.passwords["controller"]
        # Kafka reads the key and what it is certified by from one file.
        identity = self._folder / "broker.pem"
        parts = (self._authority.key("server"), self._authority.cert("server"))
        identity.write_bytes(b"".join(part.read_bytes() for part in parts))
        identity.chmod(0o600)
        return {
            **own,
            **listeners,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SASL_PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": identity,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self._authority.cert("ca"),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": f'{_PLAIN} required username="controller" '
            f'password="{controller}" user_controller="{controller}";',
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f'{_SCRAM} required username="broker" '
            f'password="{self.passwords["broker"]}";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:broker;User:controller;User:setup",
        }


_LISTENERS: Final = ("listeners", "advertised.listeners")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
