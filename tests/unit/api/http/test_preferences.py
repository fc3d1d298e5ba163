"""What ``Prefer`` says about waiting, by RFC 7240's grammar."""

import pytest
from fastapi import Request

from api.http.headers import Wait, wait


async def of(*lines: str) -> Wait:
    return await wait(Request({"type": "http", "headers": [(b"prefer", line.encode("latin-1")) for line in lines]}))


@pytest.mark.parametrize(
    "line",
    [
        *("wait=10", "WAIT = 10", 'wait="10"', r'wait="1\0"', "wait\t=10", " wait=10 ,", ",,wait=10"),
        *("wait=10; x=y", 'wait=10;x="a, wait=60"', "wait=10 ; x ;; y", "wait=10, wait=20"),
        *('note="a, wait=60, b", wait=10', r'note="\", wait=60", wait=10', "x=a/b, wait=10", "respond-async, wait=10"),
    ],
)
async def test_a_wait_counts_however_it_is_written(line: str) -> None:
    assert await of(line) == Wait(10, "wait=10")


@pytest.mark.parametrize("line", ["respond-async", "Respond-Async;foo", 'respond-async=""', "respond-async; x=1, y"])
async def test_respond_async_counts_however_it_is_written(line: str) -> None:
    assert await of(line) == Wait(0, "respond-async")


@pytest.mark.parametrize(
    "line",
    [
        *("", ";;", "wait", "wait=", "wait=x", "wait=-1", "wait=1e9", "wait=\xb2", "wait=1 0"),
        *(
            'note="a, wait=60, b"',
            'note="a, wait=60',
            'note="a, wait=60\\',
            'x"a, wait=60"',
            "note;wait=60",
            "wait=x=60",
        ),
        *("wait=x, wait=60", "respond-async=no", "await=60"),
    ],
)
async def test_what_says_nothing_about_waiting_is_ignored(line: str) -> None:
    assert await of(line) == Wait(None, None)


async def test_several_lines_are_one_list_and_the_first_of_a_name_counts() -> None:
    assert await of("x", "wait=100") == Wait(60, "wait=60")
    assert await of("wait=x", "wait=10, respond-async") == Wait(0, "respond-async")


async def test_a_long_header_is_read_in_no_time() -> None:
    for line in ('"' * 30_000, "a;" * 15_000, "a ; \t" * 6_000 + "/", '\\"' * 15_000, " " * 30_000, "a=" * 15_000):
        assert await of(line) == Wait(None, None)
