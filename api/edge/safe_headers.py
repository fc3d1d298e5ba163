"""Headers that every answer has, whoever makes it: nobody keeps it, takes it for a page, or shows it in one."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.edge.cors import Cors
from orderflow.serving.protocol import SAFE_HEADERS


class SafeHeaders:
    """ASGI middleware, around all that answer. What an answer says itself stays: a page has another policy."""

    def __init__(self, app: ASGIApp, cors: Cors) -> None:
        self._app = app
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message.get("headers", ()))
                names = {name.lower() for name, _ in said}
                said += [field for field in SAFE_HEADERS if field[0] not in names]
                said.append((b"vary", self._cors.vary))
                message = {**message, "headers": said + self._cors.headers(scope)}
            await send(message)

        await self._app(scope, receive, send_safely)
