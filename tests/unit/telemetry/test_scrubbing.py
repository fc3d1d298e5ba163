"""No key and no bearer token stands in a line of the log, whoever says it and however."""

import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from orderflow.security import api_keys
from orderflow.telemetry.logs import SCRUBBED, configure_logging

KEY = api_keys.make("test")[0]
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjdXN0b21lci00MiJ9.c2lnbmF0dXJl"
OPAQUE = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, structlogs = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**structlogs)


def _fail() -> None:
    raise ValueError(f"no such caller: Authorization: Bearer {OPAQUE}, nor {KEY}")


@pytest.mark.parametrize("form", ["json", "console"])
def test_every_line_is_scrubbed_last(capsys: pytest.CaptureFixture[str], form: Literal["json", "console"]) -> None:
    configure_logging("debug", form)
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    ours.info("called", key=KEY, headers=[(b"authorization", f"Bearer {JWT}".encode())], order_id="42")
    ours.info(f"Bearer {OPAQUE}", token=JWT)
    theirs.warning("sent %s and bearer %s", KEY, OPAQUE)
    for log in (ours, theirs):
        try:
            _fail()
        except ValueError:
            log.exception("failed")
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.count(SCRUBBED) >= 9
    assert "42" in said
    for secret in (KEY, KEY.rpartition("_")[2], JWT, JWT.split(".")[1], OPAQUE):
        assert secret not in said


def test_words_about_bearers_stay(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    logging.getLogger("theirs").warning("Send Authorization: Bearer with a key; ofk is its prefix")
    assert "Bearer with a key; ofk is its prefix" in capsys.readouterr().err
