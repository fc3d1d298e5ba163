"""How a URL is checked, and how it is shown: never with its password, also where it is written wrongly.

A password with a raw ``/``, ``#``, ``?`` or ``@`` ends the part of a URL that it stands in, so that everybody reads
another host, port or path, and names it in an error. So what is ambiguous is refused by its rule, without its value.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

HIDDEN: Final = "***"
RULE: Final = (
    "percent-encode what is special in its user, password, path and query "
    "(/ is %2F, # %23, ? %3F, @ %40, : %3A, % %25, [ %5B, ] %5D, a space %20)"
)
POSTGRES: Final = ("postgresql", "postgres")
HTTP: Final = ("http", "https")

# RFC 3986: unreserved characters, percent-encoded ones, and the delimiters that mean nothing there.
_UNIT: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_NAMED: Final = r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{1,5})?"
_HOSTS: Final = rf"(?P<hosts>{_NAMED}(?:,{_NAMED})*)"
_BEHIND: Final = rf"(?P<path>(?:/(?:{_UNIT}|:)*)*)(?:\?(?P<query>(?:{_UNIT}|[/:])*))?"
_URL: Final = re.compile(rf"[a-z]+://(?:{_UNIT}+(?::(?:{_UNIT}|:)*)?@)?{_HOSTS}{_BEHIND}")
# To show one: also a password with what is not allowed in it, as long as it ends nothing.
_READABLE: Final = re.compile(rf"(?P<scheme>[a-z]+)://(?:(?P<user>{_UNIT}+)(?P<password>:[^/?#]*)?@)?{_HOSTS}{_BEHIND}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
#: What a Postgres URL's query says that is no secret. Other values are hidden.
_OPEN: Final = frozenset(
    [
        "application_name",
        "connect_timeout",
        "database",
        "dbname",
        "direct_tls",
        "gsslib",
        "host",
        "krbsrvname",
        "options",
        "passfile",
        "port",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "target_session_attrs",
        "user",
    ]
)


def check(url: str, schemes: tuple[str, ...]) -> str:
    """``url`` if it can be read in one way only. Raises ValueError, which says the rule and never the value."""
    if re.match("|".join(f"{scheme}://" for scheme in schemes), url) is None:
        raise ValueError(f"it is no URL that begins with {schemes[0]}://")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"it is no URL that can be read in one way only: {RULE}")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in unquote(url)):
        raise ValueError("it has a control character")
    ports = re.findall(r":([0-9]+)(?:,|$)", found["hosts"])
    if schemes == POSTGRES:
        pairs = [part.partition("=") for part in (found["query"] or "").split("&") if part]
        if not all(key and equals for key, equals, _ in pairs):
            raise ValueError("its query is not key=value&key=value")
        given = [value for key, _, value in pairs if key == "port"]
        if not all(re.fullmatch(r"[0-9]{1,5}(,[0-9]{1,5})*", value) for value in given):
            raise ValueError("the port in its query is not a number")
        ports += [port for value in given for port in value.split(",")]
    elif not found["hosts"].partition(":")[0] or "," in found["hosts"]:
        raise ValueError("it names no host, or several")
    if not all(0 < int(port) < 65536 for port in ports):
        raise ValueError("its port is not one of 1 to 65535")
    return url


def check_address(address: str, *, default_port: bool = False) -> str:
    """``address`` if it is ``host:port``. Raises ValueError, which says the rule and never the value.

    ``default_port``: the port may be left out.
    """
    found = _ADDRESS.fullmatch(address)
    port = found and (found["port"] or ("1" if default_port else ""))
    if not port or not 0 < int(port) < 65536:
        raise ValueError("it is not host:port, such as localhost:7233 or [::1]:7233, with a port of 1 to 65535")
    return address


def as_user_of(url: str, other: str) -> str:
    """``other`` with the user and password of ``url``. Both are checked URLs of a database."""
    credentials, _, _ = urlsplit(url).netloc.rpartition("@")
    parts = urlsplit(other)
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{credentials}@{hosts}" if credentials else hosts))


def is_word(text: str) -> bool:
    """Whether it is no URL, and nothing that could hold a password: a name, perhaps with a port."""
    return re.fullmatch(r"[\w.-]*(:\d+)?", text) is not None


def shown(url: str) -> str:
    """``url`` without its passwords and tokens; where it is not clear which part is one, nothing of it."""
    found = _READABLE.fullmatch(url)
    if found is None:
        return HIDDEN
    of_database = found["scheme"] in POSTGRES
    user = found["user"]
    if user is not None and not of_database and found["password"] is None:
        user = HIDDEN  # a token
    secret = "" if found["password"] is None else f":{HIDDEN}"
    query = [
        (key, value if of_database and key in _OPEN else HIDDEN)
        for key, value in parse_qsl(found["query"] or "", keep_blank_values=True)
    ]
    behind = f"?{urlencode(query, quote_via=quote, safe='*/')}" if query else ""
    return f"{found['scheme']}://{'' if user is None else f'{user}{secret}@'}{found['hosts']}{found['path']}{behind}"


def without_password(text: str, url: str) -> str:
    """``text``, which another program said of ``url``, without that URL's password."""
    said = text.replace(url, shown(url))
    password = urlsplit(url).password
    for secret in filter(None, (password, unquote(password or ""))):
        said = said.replace(secret, HIDDEN)
    return said
