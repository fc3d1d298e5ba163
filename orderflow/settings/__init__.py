"""Every setting of every process, in one place: from the environment (``ORDERFLOW_*``), else a profile or ``.env``.

Each module has the settings that change together, with what checks them and what is derived from them. A field's
description is its documentation: ``docs/configuration.md`` is generated from these modules, a section for each of their
``# --- heading ---`` comments. Durations carry their unit in the name.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from orderflow import profiles, setting_sources
from orderflow.settings.common import ENV_FILE
from orderflow.settings.databases import SERVICES, DatabaseRole, DatabaseSettings, Service
from orderflow.settings.http_api import HttpApiSettings
from orderflow.settings.payments import PaymentSettings
from orderflow.settings.reconciliation import ReconciliationSettings
from orderflow.settings.stack import StackSettings
from orderflow.settings.stream import StreamSettings
from orderflow.settings.telemetry import TelemetrySettings
from orderflow.settings.temporal import TemporalSettings
from orderflow.settings.workers import WorkerSettings

__all__ = ["SERVICES", "DatabaseRole", "Service", "Settings", "unread"]


class Settings(
    # Pydantic takes the fields of the last one first: from the bottom up, this is the order of the generated page.
    StackSettings,
    TelemetrySettings,
    ReconciliationSettings,
    WorkerSettings,
    HttpApiSettings,
    PaymentSettings,
    StreamSettings,
    TemporalSettings,
    DatabaseSettings,
):
    """All settings. Construct it once, in an entry point, and hand the parts to who needs them.

    Raises ValidationError, and ProfileError where the chosen profile is not there or sets what is no setting.
    """

    @property
    def token_private_key(self) -> Path:
        """The file with the private keys for payment tokens."""
        return self.token_private_key_file or self.data_dir / "keys" / "payment-tokens.pem"

    @property
    def token_public_key(self) -> Path:
        """The file with the public key for payment tokens."""
        return self.token_public_key_file or self.data_dir / "keys" / "payment-tokens.pub.pem"


def unread() -> list[str]:
    """What the environment or ``.env`` sets in our name, and nothing reads: a sentence for each, with what is like it.

    A chosen profile refuses such a variable. Raises ProfileError where ``.env`` cannot be read.
    """
    prefix = Settings.model_config["env_prefix"]
    known = {f"{prefix}{name}".upper() for name in setting_sources.names(Settings)}
    # Also with a profile, which is read instead: pydantic opens the file all the same.
    file: Mapping[str, str | None] = profiles.variables_in(Path(ENV_FILE), "the settings")
    if f"{prefix}PROFILE" in os.environ:
        file = {}
    complaints = []
    for where, variables in (("the environment", os.environ), (ENV_FILE, file)):
        for variable in sorted(variables):
            if variable.upper().startswith(prefix) and variable.upper() not in known:
                complaints.append(f"{variable} in {where} is no setting{profiles.hint(variable, known)}")
    return complaints
