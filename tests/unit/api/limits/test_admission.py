"""What is too much for one process is sent away, and what it has in hand is served all the same."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from api.limits import admission
from api.limits.admission import Admission
from support.waiting import until


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.served: list[str] = []

    async def serves(self, number: int) -> None:
        async def begun() -> bool:
            return len(self.served) == number

        await until(begun)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served.append(scope["path"])
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Admission, path: str = "/orders") -> tuple[int, dict[str, str], dict[str, Any]]:
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing of a request is read before it is let in")

    await app({"type": "http", "path": path, "method": "POST"}, receive, send)
    body = b"".join(message.get("body", b"") for message in said)
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], headers, json.loads(body) if body else {}


async def test_one_more_than_it_may_have_in_hand_is_sent_away_and_the_next_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MOST_REQUESTS", 3)
    slow = Slow()
    app = Admission(slow)
    in_hand = [asyncio.create_task(ask(app)) for _ in range(3)]
    await slow.serves(3)
    status, headers, problem = await ask(app)
    assert (status, headers["retry-after"], problem["type"]) == (503, "1", "urn:orderflow:problems/overloaded")
    slow.let_go.set()
    assert [answer[0] for answer in await asyncio.gather(*in_hand)] == [200] * 3
    assert (await ask(app))[0] == 200


async def test_probes_are_answered_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_REQUESTS", 0)
    slow = Slow()
    slow.let_go.set()
    app = Admission(slow)
    assert [(await ask(app, path))[0] for path in ("/health/live", "/health/ready")] == [200] * 2
    assert (await ask(app, "/healthy"))[0] == 503


async def test_what_ends_in_an_error_or_is_given_up_is_in_hand_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_REQUESTS", 1)

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    app = Admission(fails)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await ask(app)
    slow = Slow()
    app = Admission(slow)
    given_up = asyncio.create_task(ask(app))
    await slow.serves(1)
    given_up.cancel()
    await asyncio.wait([given_up])
    slow.let_go.set()
    assert (await ask(app))[0] == 200
