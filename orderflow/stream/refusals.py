"""Why no broker takes us: aiokafka's clients say "Unable to bootstrap" of a wrong password, and of everything else.

One connection by itself raises what the broker said. aiokafka has no public way to make one: the tests of this module
come before its next minor version is let in.
"""

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options

_PATIENCE_MS = 2_000


async def refused(settings: Settings) -> str | None:
    """What is wrong with our name, password or mechanism, in a sentence; None: nothing, as far as any broker says.

    Only our settings are quoted, and never the password. Raises NoAddress, as ``Settings.address`` does.
    """
    if not settings.kafka_security_protocol.startswith("SASL_"):
        return None
    options = connection_options(settings)
    who = f"the user {settings.kafka_sasl_username!r} (ORDERFLOW_KAFKA_SASL_USERNAME)"
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            connection = await create_conn(host, int(port), request_timeout_ms=_PATIENCE_MS, **options)
        except UnsupportedSaslMechanismError:
            return f"{server} does not take ORDERFLOW_KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism}"
        except (AuthenticationFailedError, SaslAuthenticationFailed):
            return f"{server} does not know {who} with this password (ORDERFLOW_KAFKA_SASL_PASSWORD)"
        except (KafkaError, OSError, ValueError, TimeoutError):
            continue
        connection.close()
        return None
    return None
