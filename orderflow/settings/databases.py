"""The databases: who connects to them and where, and how many connections a process has."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, PositiveInt, SecretStr

from orderflow import urls
from orderflow.security.secret_files import FiledSecret
from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import PositiveSeconds, Secret

#: The three services, each with a database of its own.
Service = Literal["orders", "payments", "inventory"]
SERVICES: Final[tuple[Service, ...]] = ("orders", "payments", "inventory")
#: What a process is to a database; ``orderflow/postgres/roles.py`` says which database knows which.
DatabaseRole = Literal["api", "worker", "relay", "tracking", "operator", "reader", "keys", "codec"]


def _database_url(url: SecretStr) -> SecretStr:
    urls.check(url.get_secret_value(), urls.POSTGRES)
    return url


DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]


class DatabaseSettings(CommonSettings):
    """Postgres, by service and role."""

    # --- Postgres: three services, three databases; one server by default, anywhere by three URLs ---
    orders_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://orders@localhost:5432/orders"),
        description="The orders database, for every process that has no URL of its own below.",
    )
    payments_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://payments@localhost:5432/payments"), description="The same for the payments database."
    )
    inventory_database_url: DatabaseUrl = Field(
        SecretStr("postgresql://inventory@localhost:5432/inventory"),
        description="The same for the inventory database.",
    )
    orders_api_database_url: DatabaseUrl | None = Field(
        None, description="The orders database as the API's role, which may do the API's work only (docs/roles.md)."
    )
    orders_worker_database_url: DatabaseUrl | None = Field(None, description="As the role of the orders workers.")
    orders_relay_database_url: DatabaseUrl | None = Field(
        None, description="As the relay's role; for `orderflow outbox republish` and `unpark` too."
    )
    orders_tracking_database_url: DatabaseUrl | None = Field(
        None, description="As the role of the tracking; for `orderflow dlq` too."
    )
    orders_operator_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who intervenes: `orderflow order cancel`, `nudge`, `reset`, reconciliation."
    )
    orders_reader_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who looks: `orderflow explain`, `stuck`, `doctor`, `demo`, `outbox status`."
    )
    orders_keys_database_url: DatabaseUrl | None = Field(
        None, description="As the role of who makes and ends API keys: `orderflow keys`."
    )
    orders_codec_database_url: DatabaseUrl | None = Field(
        None, description="As the role of the codec server, which reads who may use it and writes down what it opened."
    )
    payments_worker_database_url: DatabaseUrl | None = Field(
        None, description="The payments database as the role of the payments workers."
    )
    payments_relay_database_url: DatabaseUrl | None = Field(None, description="As the relay's role.")
    payments_operator_database_url: DatabaseUrl | None = Field(None, description="As the role of the reconciliation.")
    payments_reader_database_url: DatabaseUrl | None = Field(None, description="As the role of who looks.")
    inventory_api_database_url: DatabaseUrl | None = Field(
        None, description="The inventory database as the API's role: stock, and no reservations."
    )
    inventory_worker_database_url: DatabaseUrl | None = Field(None, description="As the role of the inventory workers.")
    inventory_relay_database_url: DatabaseUrl | None = Field(None, description="As the relay's role.")
    inventory_operator_database_url: DatabaseUrl | None = Field(None, description="As the role of the reconciliation.")
    inventory_reader_database_url: DatabaseUrl | None = Field(None, description="As the role of who looks.")
    orders_database_direct_url: DatabaseUrl | None = Field(
        None,
        description="Where the orders database is behind a pooler in transaction mode (PgBouncer): the server's own "
        "address, for LISTEN. No statement is kept prepared then. `orderflow setup` needs the server's own, too.",
    )
    payments_database_direct_url: DatabaseUrl | None = Field(None, description="The same for the payments database.")
    inventory_database_direct_url: DatabaseUrl | None = Field(None, description="The same for the inventory database.")
    orders_admin_url: DatabaseUrl | None = Field(
        None,
        description="For `orderflow setup` only: a role on the orders server that may create roles and databases.",
    )
    payments_admin_url: DatabaseUrl | None = Field(
        None, description="The same for the payments server. Default: the orders one."
    )
    inventory_admin_url: DatabaseUrl | None = Field(
        None, description="The same for the inventory server. Default: the orders one."
    )
    database_processes: PositiveInt = Field(
        3,
        description="For `orderflow setup`: how many processes of one kind (APIs, orders workers …) may have their "
        "whole pool connected at once. Each role's connections are limited to that.",
    )
    database_server_is_shared: bool = Field(
        True,
        description="For `orderflow setup`: others have databases on the same servers. `false`: they are OrderFlow's "
        "alone, and no role may connect to `postgres` and `template1` unless it is granted.",
    )
    database_pool_size: PositiveInt = Field(8, description="Connections of one process to one database, at most.")
    database_command_timeout_seconds: PositiveSeconds = Field(
        4.0, description="A statement that takes longer is given up (and repeated). Below the activities' 5 s."
    )
    migrations_dir: Path = Field(Path("migrations"), description="Where the SQL migrations are.")

    def database_direct_url(self, service: Service, role: DatabaseRole | None = None) -> str | None:
        """The server's own address, where ``database_url`` is a pooler's in transaction mode; else None."""
        url: SecretStr | None = getattr(self, f"{service}_database_direct_url")
        if url is None:
            return None
        own = self._own_url(service, role)
        return url.get_secret_value() if own is None else urls.as_user_of(own, url.get_secret_value())

    def database_url(self, service: Service, role: DatabaseRole | None = None) -> str:
        """The database of ``service`` as ``role``; without one, or where it has no URL of its own, as the service's.

        Raises NoAddress, as ``address`` does.
        """
        return self._own_url(service, role) or self.address(f"{service}_database_url")

    def database_variable(self, service: Service, role: DatabaseRole | None = None) -> str:
        """The name of the setting that ``database_url`` gives."""
        own = f"{role}_" if self._own_url(service, role) is not None else ""
        return f"ORDERFLOW_{service}_{own}database_url".upper()

    def database_password(self, service: Service, role: DatabaseRole | None = None) -> Callable[[], str] | None:
        """What reads the password of ``database_url`` again, where it comes from a file; else None."""
        name = self.database_variable(service, role).removeprefix("ORDERFLOW_").lower()
        secret: SecretStr = getattr(self, name)
        if not isinstance(secret, FiledSecret):
            return None
        return lambda: unquote(urlsplit(secret.get_secret_value()).password or "")

    def has_own_url(self, service: Service, role: DatabaseRole) -> bool:
        """Whether ``role`` has a URL of its own."""
        return self._own_url(service, role) is not None

    def _own_url(self, service: Service, role: DatabaseRole | None) -> str | None:
        if role is None:
            return None
        url: SecretStr | None = getattr(self, f"{service}_{role}_database_url")
        return None if url is None else url.get_secret_value()
