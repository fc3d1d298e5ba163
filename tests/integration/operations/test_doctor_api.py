"""What the doctor says of an API: whether it is ready, as its public port has no more."""

import pytest
from pydantic import SecretStr

from operations.doctor.checks.http import checks
from orderflow.settings import Settings
from support.api import CLOSED
from support.terminal import served


@pytest.mark.parametrize("away", [False, True])
async def test_an_api_is_ready_or_a_database_does_not_answer_it(settings: Settings, away: bool) -> None:
    nowhere = SecretStr(f"postgresql://orders:x@{CLOSED}/orders?sslmode=disable")
    given = {"orders_api_database_url": nowhere} if away else {}
    async with served(settings.model_copy(update=given)) as url:
        [api, _gateway] = checks(settings.model_copy(update={"api_url": url}))
        line, *_ = await api.look()
    assert (line.ok, line.detail) == (not away, "not ready: a database does not answer it" if away else "ready")
    assert "ORDERFLOW_HEALTH_PORT" in line.fix
