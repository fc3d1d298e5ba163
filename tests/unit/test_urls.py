"""A URL is read in one way only, and never shown with its password."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderflow.urls import HIDDEN, HTTP, POSTGRES, as_user_of, check, shown, without_password

#: What ends a part of a URL, or is not allowed in one.
SPECIAL = '/#?@:[]% <>"{}|\\^`\x00\n\x1b\x9b\u202eé'


def complaint(url: str, schemes: tuple[str, ...]) -> str:
    """What is said of a URL that is refused; nothing of one that is taken."""
    try:
        check(url, schemes)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://a:b@h/d", "postgresql://a:***@h/d"),
        ("postgresql://a:b:c@h:5/d", "postgresql://a:***@h:5/d"),
        ("postgresql://a@h/d", "postgresql://a@h/d"),
        ("postgres://h1:1,h2:2/d", "postgres://h1:1,h2:2/d"),
        ("postgresql://a:b@[::1]:5432/d", "postgresql://a:***@[::1]:5432/d"),
        ("postgresql://postgres:pw@/postgres?host=/tmp/x-1", "postgresql://postgres:***@/postgres?host=/tmp/x-1"),
        ("postgresql://a:S3cr3t%2FPa%23rt@h/d?sslmode=require", "postgresql://a:***@h/d?sslmode=require"),
        ("postgresql://h/d?user=a&password=b&other=c", "postgresql://h/d?user=a&password=***&other=***"),
        ("postgresql://h/d?p%61ssword=b", "postgresql://h/d?password=***"),
    ],
)
def test_a_url_of_a_database_is_taken_and_shown_without_its_password(url: str, said: str) -> None:
    assert check(url, POSTGRES) == url
    assert shown(url) == said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://[::1]/v1/traces", "https://[::1]/v1/traces"),
        ("https://u:p@h:80/a:b?key=v", "https://u:***@h:80/a:b?key=***"),
        ("https://token@h/", "https://***@h/"),
    ],
)
def test_an_http_url_is_taken_and_shown_without_what_lets_somebody_in(url: str, said: str) -> None:
    assert check(url, HTTP) == url
    assert shown(url) == said


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with postgresql://"),
        ("http://a:b@h/d", "begins with postgresql://"),
        ("postgresql://a:b/c@h/d", "percent-encode"),
        ("postgresql://a:1/c@h/d", "percent-encode"),
        ("postgresql://a:1?c@h/d", "percent-encode"),
        ("postgresql://a:1#c@h/d", "percent-encode"),
        ("postgresql://a:b@c@h/d", "percent-encode"),
        ("postgresql://a:b c@h/d", "percent-encode"),
        ("postgresql://a:[b]@h/d", "percent-encode"),
        ("postgresql://a:b%@h/d", "percent-encode"),
        ("postgresql://a:b\n@h/d", "percent-encode"),
        ("postgresql://a:b@h/d\n", "percent-encode"),
        ("postgresql://a:bé@h/d", "percent-encode"),
        ("postgresql://h/d?password=b@c", "percent-encode"),
        ("postgresql://h/d?password=b#c", "percent-encode"),
        ("postgresql://a:b@h:S3cr3t/d", "percent-encode"),
        ("postgresql://a:b%00@h/d", "control character"),
        ("postgresql://a:b@h:65536/d", "port"),
        ("postgresql://a:b@h/d?port=S3cr3t", "port"),
        ("postgresql://h/d?S3cr3t", "key=value"),
    ],
)
def test_a_url_that_can_be_read_in_two_ways_is_refused_without_being_shown(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check(url, POSTGRES)
    assert "S3cr3t" not in str(refused.value)


@given(st.text(st.sampled_from(SPECIAL + "ab1"), max_size=12), st.sampled_from(["h", "h:5432", "/d", "?x=y"]))
@example("/", "h")
@example("1/", "h")
@example("1?host=", "h")
@example("@h:1/d?password=", "h")
def test_a_password_is_never_shown_whatever_stands_in_it(rest: str, host: str) -> None:
    for written in (f"QZX1{rest}QZX2", f"1{rest}QZX2", quote(f"QZX1{rest}QZX2", safe="")):
        for scheme, schemes in (("postgresql", POSTGRES), ("http", HTTP)):
            url = f"{scheme}://orders:{written}@{host}/orders"
            assert "QZX" not in shown(url)
            assert "QZX" not in complaint(url, schemes)


@given(st.text(st.sampled_from(SPECIAL + "ab1").filter(lambda one: one not in "\x00\n\x1b"), min_size=1, max_size=12))
def test_every_password_can_be_written(password: str) -> None:
    url = f"postgresql://orders:{quote(password, safe='')}@h/orders"
    assert check(url, POSTGRES) == url
    assert shown(url) == f"postgresql://orders:{HIDDEN}@h/orders"


def test_what_another_program_says_of_a_url_is_told_without_its_password() -> None:
    url = "postgresql://orders:a%2Fb-long@h/orders"
    assert without_password(f"cannot dial {url}: a%2Fb-long, or a/b-long", url) == (
        "cannot dial postgresql://orders:***@h/orders: ***, or ***"
    )


def test_a_direct_address_is_reached_as_the_role_that_asks() -> None:
    direct = "postgresql://orders:secret@db-1:5432/orders?sslmode=require"
    asking = as_user_of("postgresql://orders_api:other%40@pooler:6432/orders", direct)
    assert asking == "postgresql://orders_api:other%40@db-1:5432/orders?sslmode=require"
    assert as_user_of("postgresql://pooler/orders", direct) == "postgresql://db-1:5432/orders?sslmode=require"
