"""RFC 9110 13: what a client demands of the version is compared before anything is changed, or the request refused."""

import asyncio
from typing import Any

import httpx
import pytest

from support.api import order_body, placed

LONG_AGO = "Thu, 01 Jan 2015 00:00:00 GMT"


async def with_stock(api: httpx.AsyncClient, sku: str, versions: int = 1) -> str:
    """The path of a SKU whose stock has been stated so many times."""
    for _ in range(versions):
        assert (await api.put(f"/inventory/{sku}", json={"on_hand": 100})).status_code in (200, 201)
    return f"/inventory/{sku}"


async def shown(api: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.get(path)).json()
    return answer


async def test_if_none_match_any_only_creates(api: httpx.AsyncClient) -> None:
    new = {"If-None-Match": "*"}
    made = await api.put("/inventory/a", json={"on_hand": 1}, headers=new)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    again = await api.put("/inventory/a", json={"on_hand": 5}, headers=new)
    assert (again.status_code, again.json()["current_version"]) == (412, 1)
    assert (await shown(api, "/inventory/a"))["on_hand"] == 1


async def test_of_many_who_only_create_one_does(api: httpx.AsyncClient) -> None:
    new = {"If-None-Match": "*"}
    answers = await asyncio.gather(*(api.put("/inventory/a", json={"on_hand": n}, headers=new) for n in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 9
    assert (await shown(api, "/inventory/a"))["version"] == 1


@pytest.mark.parametrize("tags", ["*", '"1"', '"1", "2"', 'W/"1"', '"x"'])
async def test_if_match_never_creates(quiet_api: httpx.AsyncClient, tags: str) -> None:
    answer = await quiet_api.put("/inventory/never", json={"on_hand": 5}, headers={"If-Match": tags})
    assert (answer.status_code, "current_version" in answer.json()) == (412, False)
    assert (await quiet_api.get("/inventory/never")).status_code == 404


#: (If-Match, If-None-Match) and whether they hold of version 2.
DEMANDS = [
    ("*", None, True),
    ('"2"', None, True),
    ('"1", "2"', None, True),
    (' ,"9",, "2" ,', None, True),
    ('"a,b", "2"', None, True),
    ('"1", "3"', None, False),
    ('W/"2"', None, False),
    ('W/"2", "2"', None, True),
    ('"x"', None, False),
    ('"02"', None, False),
    ('""', None, False),
    (f'"{10**30}"', None, False),
    (None, "*", False),
    (None, '"2"', False),
    (None, 'W/"2"', False),
    (None, '"1", W/"2"', False),
    (None, '"1", "3"', True),
    (None, '"x"', True),
    ("*", '"2"', False),
    ("*", '"1"', True),
    ('"2"', '"1"', True),
    ('"2"', '"2"', False),
    ('"2"', "*", False),
]


@pytest.mark.parametrize(("match", "none_match", "holds"), DEMANDS)
async def test_a_change_is_made_where_its_preconditions_hold(
    quiet_api: httpx.AsyncClient, match: str | None, none_match: str | None, holds: bool
) -> None:
    name = f"changed-{DEMANDS.index((match, none_match, holds))}"
    here = await with_stock(quiet_api, name, 2)
    there = f"/orders/{await placed(quiet_api)}"
    await quiet_api.post(f"{there}/approve")
    sent = {"If-Match": match, "If-None-Match": none_match}
    headers = {header: value for header, value in sent.items() if value is not None}
    one_more = {"delta": 1, "reason": "found"}
    for method, path, body in (("POST", f"{there}/cancel", {}), ("POST", f"{here}/adjustments", one_more)):
        answer = await quiet_api.request(method, path, json=body, headers=headers)
        assert answer.status_code == (200 if holds else 412), answer.text
        assert holds or answer.json()["current_version"] == 2
    assert [(await shown(quiet_api, path))["version"] for path in (here, there)] == [3 if holds else 2] * 2
    here = await with_stock(quiet_api, f"{name}-counted", 2)
    counted = await quiet_api.put(here, json={"on_hand": 7}, headers=headers)
    assert counted.status_code == (200 if holds else 412)
    assert (await shown(quiet_api, here))["on_hand"] == (7 if holds else 100)


@pytest.mark.parametrize(("match", "none_match", "holds"), DEMANDS)
async def test_a_read_is_answered_as_its_preconditions_say(
    quiet_api: httpx.AsyncClient, match: str | None, none_match: str | None, holds: bool
) -> None:
    here = await with_stock(quiet_api, f"read-{DEMANDS.index((match, none_match, holds))}", 2)
    there = f"/orders/{await placed(quiet_api)}"
    await quiet_api.post(f"{there}/approve")
    sent = {"If-Match": match, "If-None-Match": none_match}
    headers = {header: value for header, value in sent.items() if value is not None}
    for method, path in (("GET", here), ("GET", there)):
        answer = await quiet_api.request(method, path, headers=headers)
        assert answer.status_code == (200 if holds else 412 if none_match is None else 304)
        if answer.status_code == 304:
            assert (answer.content, answer.headers["etag"]) == (b"", '"2"')


async def test_tags_on_several_lines_are_one_list(quiet_api: httpx.AsyncClient) -> None:
    here = await with_stock(quiet_api, "lines")
    lines = [("If-Match", '"7"'), ("If-Match", '"1"')]
    assert (await quiet_api.put(here, json={"on_hand": 7}, headers=lines)).status_code == 200
    assert (await quiet_api.put(here, json={"on_hand": 8}, headers=lines)).status_code == 412


@pytest.mark.parametrize("name", ["If-Unmodified-Since", "If-Modified-Since"])
async def test_a_date_is_no_precondition_here(quiet_api: httpx.AsyncClient, name: str) -> None:
    here = await with_stock(quiet_api, f"dated-{name}")
    there = f"/orders/{await placed(quiet_api)}"
    for method, path, body in (
        ("PUT", here, {"on_hand": 6}),
        ("POST", f"{here}/adjustments", {"delta": 1, "reason": "found"}),
        ("POST", f"{there}/cancel", {}),
        ("POST", "/orders", order_body()),
    ):
        answer = await quiet_api.request(method, path, json=body, headers={name: LONG_AGO})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, name)
        assert answer.json()["errors"][0]["rule"] == "unsupported"
    assert [(await shown(quiet_api, path))["version"] for path in (here, there)] == [1, 1]
    # What is read has no date: RFC 9110 wants them ignored.
    assert (await quiet_api.get(here, headers={name: LONG_AGO})).status_code == 200


async def test_beside_a_tag_a_date_is_ignored(quiet_api: httpx.AsyncClient) -> None:
    here = await with_stock(quiet_api, "beside")
    headers = {"If-Match": '"1"', "If-Unmodified-Since": LONG_AGO}
    assert (await quiet_api.put(here, json={"on_hand": 6}, headers=headers)).status_code == 200
    assert (await quiet_api.put(here, json={"on_hand": 7}, headers=headers)).status_code == 412


@pytest.mark.parametrize(("name", "value"), [("If-Match", "*"), ("If-Match", '"1"'), ("If-None-Match", "*")])
async def test_a_place_has_nothing_to_compare_with(quiet_api: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await quiet_api.post("/orders", json=order_body(reference="compared"), headers={name: value})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, name)
    assert (await quiet_api.get("/orders", params={"reference": "compared"})).json()["orders"] == []


async def test_what_is_not_there_is_404_whatever_is_demanded(quiet_api: httpx.AsyncClient) -> None:
    nowhere = "/orders/0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11"
    for headers in ({"If-Match": "*"}, {"If-Match": '"1"'}, {"If-None-Match": "*"}):
        for method, path, body in (
            ("POST", f"{nowhere}/approve", {}),
            ("POST", f"{nowhere}/ship", {}),
            ("POST", "/inventory/nowhere/adjustments", {"delta": 1, "reason": "found"}),
            ("GET", nowhere, None),
            ("GET", "/inventory/nowhere", None),
        ):
            assert (await quiet_api.request(method, path, json=body, headers=headers)).status_code == 404


async def test_a_create_that_is_sent_again_is_the_same_create(quiet_api: httpx.AsyncClient) -> None:
    """The SKU was new when the request came first: its key says that it is that request."""
    headers = {"If-None-Match": "*", "Idempotency-Key": "create-1"}
    first = await quiet_api.put("/inventory/again", json={"on_hand": 3}, headers=headers)
    again = await quiet_api.put("/inventory/again", json={"on_hand": 3}, headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 201, "true")
