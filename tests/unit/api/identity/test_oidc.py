"""Access tokens: what is believed, what is not, and what an issuer may do to us."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from api.identity import key_sets
from api.identity.authentication import Bearers, Unauthenticated
from api.identity.oidc import AccessTokens, _verified, principal_id
from orderflow.domain.access import Principal, Scope
from orderflow.domain.errors import Unavailable
from orderflow.security import api_keys
from orderflow.security.issuers import Issuer
from orderflow.settings import Settings
from support.issuer import AnIssuer, an_issuer, confused, http_answer

HOUR = 3600


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[AnIssuer]:
    async with an_issuer() as issuer:
        yield issuer


@pytest_asyncio.fixture
async def tokens(issuer: AnIssuer) -> AsyncIterator[AccessTokens]:
    tokens = AccessTokens([issuer.trusted()])
    yield tokens
    await tokens.close()


class Clock:
    """The monotonic clock of the key sets, moved by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_sets, "time", clock)
    return clock


def plain(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    """A token that nobody has signed."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return ".".join((*parts, signature))


async def fetched(tokens: AccessTokens, issuer: AnIssuer) -> None:
    """What is being fetched in the background has come, or failed."""
    task = tokens._key_sets[issuer.url]._fetching
    assert task is not None
    await asyncio.wait([task], timeout=10)


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@pytest.mark.parametrize(
    ("kid", "alg"), [("ed", "EdDSA"), ("ed", "Ed25519"), ("ec", "ES256"), ("rsa", "RS256"), ("rsa", "PS256")]
)
async def test_a_token_of_the_issuer_is_believed(issuer: AnIssuer, tokens: AccessTokens, kid: str, alg: str) -> None:
    caller = await tokens.principal(issuer.token(kid, alg, scope="orders:read email", customer_id="c-1"))
    assert caller == Principal(principal_id(issuer.url, "ann"), "app_user", frozenset({Scope.ORDERS_READ}), "c-1")
    again = await tokens.principal(issuer.token("ec", "ES256"))
    assert again.id == caller.id  # the subject's, not the token's, nor the key's
    assert issuer.asked == ["/jwks"]


async def test_no_algorithm_is_no_signature(issuer: AnIssuer, tokens: AccessTokens) -> None:
    good = issuer.token()
    algorithms: list[Any] = ["none", "None", "NONE", None, ["none"], {}, ""]
    for alg in algorithms:
        for kid in ("ed", "rsa"):
            token = plain({"typ": "at+jwt", "alg": alg, "kid": kid}, claims_of(good))
            for sent in (token, token + good.split(".")[2]):
                with pytest.raises(Unauthenticated, match="algorithm"):
                    await tokens.principal(sent)


async def test_a_public_key_is_no_secret(issuer: AnIssuer, tokens: AccessTokens) -> None:
    """HS256 with the text of the RSA, EC or Ed25519 key that everybody can fetch."""
    for kid, key in issuer.keys.items():
        assert not isinstance(key, OctKey)
        for alg in ("HS256", "HS384", "HS512"):
            for said in (alg, "RS256"):
                token = plain({"typ": "at+jwt", "alg": said, "kid": kid}, claims_of(issuer.token()))
                with pytest.raises(Unauthenticated):
                    await tokens.principal(confused(token, key, alg))


async def test_a_key_signs_as_its_kind_does_and_no_other(issuer: AnIssuer, tokens: AccessTokens) -> None:
    good = issuer.token("rsa", "RS256")
    for kid, alg in (("ed", "RS256"), ("ec", "EdDSA"), ("rsa", "ES256"), ("rsa", "RS512"), ("rsa", "RS1")):
        token = plain({"typ": "at+jwt", "alg": alg, "kid": kid}, claims_of(good), good.split(".")[2])
        with pytest.raises(Unauthenticated):
            await tokens.principal(token)


async def test_a_key_in_the_token_is_not_asked(issuer: AnIssuer, tokens: AccessTokens) -> None:
    mine = OKPKey.generate_key("Ed25519", {"kid": "ed"})
    issuer_keys, issuer.keys = issuer.keys, {"ed": mine}
    header = {"jwk": mine.as_dict(private=False), "jku": f"{issuer.url}/mine", "x5u": f"{issuer.url}/mine"}
    token = issuer.token(header=header)
    issuer.keys = issuer_keys
    with pytest.raises(Unauthenticated, match="not signed"):
        await tokens.principal(token)
    assert "/mine" not in issuer.asked


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", "third"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": 7}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": None}, "issuer"),
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"iss": [1]}, "issuer"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"exp": None}, "exp"),
        ({"nbf": None}, "nbf"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"nbf": "now"}, "nbf"),
        ({"exp": 10**400}, "longer than 24 h"),
        ({"nbf": -(10**400)}, "longer than 24 h"),
        ({"customer_id": ""}, "customer"),
        ({"customer_id": 7}, "customer"),
        ({"customer_id": ["c-1", "c-2"]}, "customer"),
    ],
    ids=str,
)
async def test_a_claim_that_is_wrong(
    issuer: AnIssuer, tokens: AccessTokens, changed: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Unauthenticated, match=complaint):
        await tokens.principal(issuer.token(**changed))


_CRITICAL: list[Any] = [None, 5, 1.5, True, "exp", {}, [], [1], [[]], [None], ["exp"], ["b64"]]


@pytest.mark.parametrize("critical", _CRITICAL, ids=str)
async def test_an_extension_that_must_be_understood_is_none_of_ours(
    issuer: AnIssuer, tokens: AccessTokens, critical: object
) -> None:
    """RFC 7515 4.1.11. Nobody has signed these: what the header says is judged before the signature."""
    header = {"typ": "at+jwt", "alg": "EdDSA", "kid": "ed", "b64": True, "crit": critical}
    with pytest.raises(Unauthenticated, match="crit"):
        await tokens.principal(plain(header, claims_of(issuer.token()), "AAAA"))
    assert not issuer.asked


async def test_an_empty_list_of_extensions_is_refused_though_the_issuer_signed_it(
    issuer: AnIssuer, tokens: AccessTokens
) -> None:
    with pytest.raises(Unauthenticated, match="crit"):
        await tokens.principal(issuer.token(header={"crit": []}))


@pytest.mark.parametrize("critical", _CRITICAL, ids=str)
async def test_what_the_verifier_cannot_read_is_not_signed(issuer: AnIssuer, critical: object) -> None:
    """The fence behind it: no header makes the library's failure ours."""
    header = {"typ": "at+jwt", "alg": "EdDSA", "kid": "ed", "crit": critical}
    with pytest.raises(Unauthenticated, match="not signed"):
        _verified(plain(header, claims_of(issuer.token()), "AAAA"), issuer.keys["ed"], issuer.trusted())


@pytest.mark.parametrize("typ", ["JWT", "id+jwt", "", None, 7, "dpop+jwt"])
async def test_another_kind_of_token_is_no_access_token(issuer: AnIssuer, tokens: AccessTokens, typ: object) -> None:
    good = issuer.token()
    for token in [plain({"typ": typ, "alg": "EdDSA", "kid": "ed"}, claims_of(good), good.split(".")[2])] + (
        [issuer.token(header={"typ": typ})] if isinstance(typ, str) else []
    ):
        with pytest.raises(Unauthenticated, match="typ"):
            await tokens.principal(token)
    assert await tokens.principal(issuer.token(header={"typ": "application/AT+JWT"}))


async def test_a_token_is_good_in_its_time_and_half_a_minute_around_it(issuer: AnIssuer, tokens: AccessTokens) -> None:
    now = int(time.time())
    for good in ({"exp": now - 20}, {"nbf": now + 25}, {"exp": now + 24 * HOUR}, {"exp": now + 60.5}):
        span: dict[str, Any] = (
            {"nbf": now, **good} if "exp" in good and good["exp"] > now else {"nbf": now - 60, **good}
        )
        assert await tokens.principal(issuer.token(**span)), good
    for bad in ({"exp": now - 31}, {"nbf": now + 35}, {"exp": now + 24 * HOUR + 1}):
        span = {"nbf": now, **bad} if bad.get("exp", 0) > now else {"nbf": now - 60, **bad}
        with pytest.raises(Unauthenticated):
            await tokens.principal(issuer.token(**span))


async def test_a_token_for_ten_years_is_not_believed(issuer: AnIssuer, tokens: AccessTokens) -> None:
    now = int(time.time())
    spans: list[dict[str, Any]] = [{"exp": now + 10 * 365 * 24 * HOUR}, {"nbf": now - 10 * 365 * 24 * HOUR}]
    for span in spans:
        with pytest.raises(Unauthenticated, match="longer than 24 h"):
            await tokens.principal(issuer.token(**span))


@pytest.mark.parametrize(
    "token", ["a.b.c", "..", "é.é.é", "e30.e30.", "W10.W10.", "bnVsbA.bnVsbA.x", f"{'W1' * 3000}.e30.e30"]
)
async def test_what_is_no_token_is_refused(issuer: AnIssuer, tokens: AccessTokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens.principal(token)
    assert not issuer.asked


async def test_an_issuer_that_nobody_named_is_asked_nothing(issuer: AnIssuer) -> None:
    tokens = AccessTokens([])
    with pytest.raises(Unauthenticated, match="none of ours"):
        await tokens.principal(issuer.token())
    assert not issuer.asked


async def test_one_issuer_does_not_speak_for_another(issuer: AnIssuer) -> None:
    async with an_issuer() as other:
        tokens = AccessTokens([issuer.trusted(), other.trusted()])
        with pytest.raises(Unauthenticated, match="not signed"):
            await tokens.principal(other.token(iss=issuer.url))
        mine, theirs = await tokens.principal(issuer.token()), await tokens.principal(other.token())
        assert mine.id != theirs.id  # the same subject


async def test_scopes_are_ours_and_no_more_than_the_issuer_may_give(issuer: AnIssuer) -> None:
    said: list[tuple[dict[str, Any], set[Scope]]] = [
        ({"scope": "orders:read stock:read root"}, {Scope.ORDERS_READ, Scope.STOCK_READ}),
        ({"scp": ["orders:place", 7, None]}, {Scope.ORDERS_PLACE}),
        ({"scp": "orders:place"}, {Scope.ORDERS_PLACE}),
        ({"permissions": ["orders:cancel"], "scope": "orders:read"}, {Scope.ORDERS_CANCEL, Scope.ORDERS_READ}),
        ({"scope": ""}, set()),
        ({"scope": {"orders:read": True}}, set()),
        ({}, set()),
        ({"scope": "operate orders:everyone"}, {Scope.OPERATE, Scope.ORDERS_EVERYONE}),
    ]
    everything, little = AccessTokens([issuer.trusted()]), AccessTokens([issuer.trusted(scopes=["orders:read"])])
    for claims, scopes in said:
        token = issuer.token(**claims)
        assert (await everything.principal(token)).scopes == scopes
        assert (await little.principal(token)).scopes == scopes & {Scope.ORDERS_READ}


async def test_who_the_customer_is_stands_in_the_claim_that_the_settings_name(issuer: AnIssuer) -> None:
    for claim, customer in (("sub", "ann"), ("https://shop.example/customer", "c-7"), ("customer_id", None)):
        tokens = AccessTokens([issuer.trusted(customer_claim=claim)])
        said: dict[str, Any] = {"https://shop.example/customer": "c-7"}
        caller = await tokens.principal(issuer.token(**said))
        assert caller.customer_id == customer
    assert not caller.reaches_orders


async def test_a_program_is_a_service_account(issuer: AnIssuer, tokens: AccessTokens) -> None:
    assert (await tokens.principal(issuer.token(sub="job", client_id="job"))).type == "service_account"
    assert (await tokens.principal(issuer.token(sub="ann", client_id="shop"))).type == "app_user"


async def test_a_new_key_is_fetched_once_in_half_a_minute(issuer: AnIssuer, tokens: AccessTokens, clock: Clock) -> None:
    await tokens.principal(issuer.token())
    issuer.keys["new"] = ECKey.generate_key("P-256", {"kid": "new"})
    token = issuer.token("new", "ES256")
    for _ in range(50):  # made-up ids are no flood at the issuer
        with pytest.raises(Unauthenticated, match="kid"):
            await tokens.principal(token)
    assert len(issuer.asked) == 1
    clock.ahead = key_sets.REFETCH_SECONDS
    found = await asyncio.gather(*(tokens.principal(token) for _ in range(50)))
    assert len(found) == 50
    assert len(issuer.asked) == 2


async def test_a_key_that_was_withdrawn_is_believed_no_more(
    issuer: AnIssuer, tokens: AccessTokens, clock: Clock
) -> None:
    token = issuer.token()
    await tokens.principal(token)
    del issuer.keys["ed"]
    clock.ahead = key_sets.FRESH_SECONDS
    await tokens.principal(token)  # nobody waits for the fetch that it begins
    await fetched(tokens, issuer)
    with pytest.raises(Unauthenticated, match="kid"):
        await tokens.principal(token)


async def test_while_the_issuer_is_away_its_keys_are_kept_for_an_hour(
    issuer: AnIssuer, tokens: AccessTokens, clock: Clock
) -> None:
    token = issuer.token()
    await tokens.principal(token)
    port = issuer.port
    await issuer.stop()
    for minutes in (11, 30, 59):
        clock.ahead = minutes * 60
        assert await tokens.principal(token)
        await fetched(tokens, issuer)
    clock.ahead = HOUR
    with pytest.raises(Unavailable, match="ConnectError"):
        await tokens.principal(token)
    await issuer.start(port)
    with pytest.raises(Unavailable):  # it was asked a moment ago
        await tokens.principal(token)
    clock.ahead += key_sets.RETRY_SECONDS
    assert await tokens.principal(token)


async def test_an_issuer_that_was_never_there(issuer: AnIssuer, tokens: AccessTokens) -> None:
    await issuer.stop()
    found = await asyncio.gather(*(tokens.principal(issuer.token()) for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in found} == {Unavailable}


async def _redirects(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(http_answer(b"", "302 Found", Location="/elsewhere"))


async def _is_huge(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(100_000):
        writer.write(b" " * 65536)
        await writer.drain()


async def _is_slow(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _is_compressed(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(http_answer(b"\x1f\x8b", Content_Encoding="gzip"))


async def _is_broken(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(http_answer(b"[" * 100_000))


async def _is_a_list(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(http_answer(b"[]"))


async def _fails(path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(http_answer(b'{"keys": []}', "500 Oops"))


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (_redirects, "answered 302"),
        (_is_huge, "262,144 bytes"),
        (_is_slow, "within 0.2 s"),
        (_is_compressed, "compressed"),
        (_is_broken, "no JSON"),
        (_is_a_list, "no JSON object"),
        (_fails, "answered 500"),
    ],
)
async def test_what_an_issuer_may_answer_is_bounded(
    issuer: AnIssuer, tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch, answers: Any, why: str
) -> None:
    monkeypatch.setattr(key_sets, "FETCH_SECONDS", 0.2 if answers is _is_slow else 2.0)
    token, issuer.answers = issuer.token(), answers
    with pytest.raises(Unavailable, match=why):
        await tokens.principal(token)
    # On a busy machine the time may be over before the question is out.
    assert issuer.asked == ["/jwks"] or (answers is _is_slow and issuer.asked == [])


async def test_a_secret_among_the_public_keys_is_dropped(issuer: AnIssuer, tokens: AccessTokens) -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})
    issuer.published = [secret.as_dict(private=True), issuer.keys["ed"].as_dict(private=False)]
    issuer.keys["oct"] = secret
    for alg in ("HS256", "EdDSA"):
        header = {"typ": "at+jwt", "alg": "HS256", "kid": "oct"}
        token = jwt.encode(header, claims_of(issuer.token()), secret, algorithms=["HS256"], default_type=None)
        parts = token.split(".")
        with pytest.raises(Unauthenticated, match="kid" if alg == "EdDSA" else "algorithm"):
            await tokens.principal(plain({**header, "alg": alg}, claims_of(token), parts[2]))
    assert await tokens.principal(issuer.token())


def test_only_public_keys_for_signatures_are_kept() -> None:
    ed, small = OKPKey.generate_key("Ed25519", {"kid": "ed"}), RSAKey.generate_key(1024, {"kid": "small"})
    good = ed.as_dict(private=False)
    passed_over: list[Any] = [
        small.as_dict(private=False),
        ECKey.generate_key("P-384", {"kid": "384"}).as_dict(private=False),
        OKPKey.generate_key("X25519", {"kid": "x"}).as_dict(private=False),
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "signs", "key_ops": ["sign"]},
        {**good, "kid": 7},
        {**good, "kid": "broken", "x": "!"},
        {**good, "kid": "short", "x": "AA"},
        {**good, "kid": "no-list", "key_ops": 7},
        {"kid": "nothing"},
        7,
    ]
    found = key_sets.keys_of({"keys": [*passed_over, ed.as_dict(private=True)]})
    assert list(found) == ["ed"]
    assert not found["ed"].is_private
    with pytest.raises(key_sets.NotFetched, match="no key"):
        key_sets.keys_of({"keys": passed_over})
    documents: list[dict[str, Any]] = [{}, {"keys": {}}, {"keys": [good] * 101}]
    for wrong in documents:
        with pytest.raises(key_sets.NotFetched, match="no list"):
            key_sets.keys_of(wrong)


async def test_where_the_keys_are_can_be_discovered(issuer: AnIssuer) -> None:
    tokens = AccessTokens([issuer.trusted(jwks_url=None)])
    assert await tokens.principal(issuer.token())
    assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "http://127.0.0.1:1", "jwks_uri": "{url}/jwks"},
        {"issuer": "{url}", "jwks_uri": "http://keys.example/jwks"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}"},
    ],
    ids=str,
)
async def test_a_discovery_document_leads_nowhere_else(issuer: AnIssuer, said: dict[str, str]) -> None:
    async def answers(path: str, writer: asyncio.StreamWriter) -> None:
        document = {name: value.replace("{url}", issuer.url) for name, value in said.items()}
        writer.write(http_answer(json.dumps(document).encode()))

    token, issuer.answers = issuer.token(), answers
    with pytest.raises(Unavailable):
        await AccessTokens([issuer.trusted(jwks_url=None)]).principal(token)
    assert issuer.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ('[{"issuer": "http://id.example", "audience": "a"}]', "https://"),
        ('[{"issuer": "https://u:p@id.example", "audience": "a"}]', "no user"),
        ('[{"issuer": "https://id.example"}]', "audience"),
        ('[{"issuer": "https://id.example", "audience": ""}]', "audience"),
        ('[{"issuer": "https://id.example", "audience": "a", "jwks_url": "http://id.example/k"}]', "https://"),
        ('[{"issuer": "https://id.example", "audience": "a", "scopes": ["root"]}]', "scopes"),
        ('[{"issuer": "https://id.example", "audience": "a", "algorithm": "none"}]', "algorithm"),
        ("https://id.example", "no JSON"),
        (json.dumps([{"issuer": "https://id.example", "audience": "a"}] * 2), "more than once"),
        (json.dumps([{"issuer": f"https://{n}.example", "audience": "a"} for n in range(9)]), "at most 8"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_its_rule(monkeypatch: pytest.MonkeyPatch, given: str, rule: str) -> None:
    monkeypatch.setenv("ORDERFLOW_OIDC_ISSUERS", given)
    with pytest.raises(ValueError, match=rule):
        Settings()
    monkeypatch.setenv("ORDERFLOW_OIDC_ISSUERS", '[{"issuer": "https://id.example", "audience": "a"}]')
    assert Settings().oidc_issuers == (Issuer(issuer="https://id.example", audience="a"),)


async def test_a_key_is_a_key_and_what_has_two_dots_a_token(issuer: AnIssuer, tokens: AccessTokens) -> None:
    class Keys:
        async def principal(self, credential: str) -> Principal:
            raise Unauthenticated("no key")

        def remembers(self, credential: str) -> bool:
            return False

    both, keys_alone = Bearers(Keys(), tokens), Bearers(Keys(), None)
    assert await both.principal(issuer.token())
    for sent in (api_keys.make("test")[0], "ofk_a.b.c", "a.b", "a.b.c.d"):
        with pytest.raises(Unauthenticated, match="no key"):
            await both.principal(sent)
    with pytest.raises(Unauthenticated, match="no issuer is set"):
        await keys_alone.principal(issuer.token())
