"""Puts the layers of the edge around the routes, in the one order that is right."""

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.edge.addresses import hosts
from api.edge.cors import Cors
from api.edge.gate import Gate
from api.edge.safe_headers import SafeHeaders
from api.http.measuring import RequestMetrics
from api.http.prefix import ForwardedPrefix
from api.http.requests import RequestContext
from orderflow.serving import peers
from orderflow.settings import Settings


def put_edge_around(app: FastAPI, settings: Settings, *, counts: bool) -> None:
    """From the inside out. ``counts``: whether this process has metrics."""
    cors = Cors(settings.listed("api_origins"))
    app.add_middleware(Gate, hosts=hosts(settings), cors=cors)
    app.add_middleware(RequestContext)
    if counts:
        app.add_middleware(RequestMetrics)
    app.add_middleware(SafeHeaders, cors=cors)
    if settings.api_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.listed("api_proxies")))
        # Outermost: the address that it sees is still that of the connection.
        app.add_middleware(ForwardedPrefix, proxies=peers.networks(settings.api_proxies))
