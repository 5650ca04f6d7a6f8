"""Who may use the server, and how much one may send: checked before anything is parsed."""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specli.server.errors import RequestError
from specli.server.pages import FILES
from specli.server.settings import BODY_SECONDS, MOST_BODY, Settings, is_loopback

PUBLIC = frozenset({"/health", "/v1/health", *FILES})
"""Paths that need no key: they say nothing that is not in the package itself."""

ANTHROPIC = "/v1/messages"


def error_response(path: str, error: RequestError) -> Response:
    """An error in the form that clients of this path expect."""
    body = error.anthropic_body() if path.startswith(ANTHROPIC) else error.body()
    return JSONResponse(body, status_code=error.status, headers=dict(error.headers))


class Guard:
    """ASGI middleware: Host and Origin, API keys, cross-origin answers, size of the body."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._keys = [key.encode() for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin is not None and self._allows(origin)
        if allowed and scope["method"] == "OPTIONS":
            # A preflight carries no key.
            await _preflight(headers)(scope, receive, send)
            return
        refused = self._refused(scope, headers, origin, allowed=allowed)
        if refused is not None:
            await error_response(scope["path"], refused)(scope, receive, send)
            return
        if allowed and origin is not None:
            send = _with_origin(send, origin)
        await self._app(scope, _limited(receive), send)

    def _allows(self, origin: str) -> bool:
        return "*" in self._settings.origins or origin in self._settings.origins

    def _refused(
        self, scope: Scope, headers: Headers, origin: str | None, *, allowed: bool
    ) -> RequestError | None:
        host = headers.get("host", "")
        if self._settings.is_local and not is_loopback(_hostname(host)):
            # A page whose name was pointed at this machine sends its own name.
            return RequestError(403, "the Host header does not name this machine", code="host")
        if origin is not None and not allowed and urlsplit(origin).netloc != host:
            return RequestError(403, "requests from other web pages are not allowed", code="origin")
        if self._keys and scope["path"] not in PUBLIC and not self._has_key(headers):
            return RequestError(
                401,
                "a valid API key is missing",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > MOST_BODY:
            return _too_large()
        return None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            given = headers.get("x-api-key", "")
        offered = given.strip().encode("utf-8", "surrogateescape")
        # Every key is compared, so that the time says nothing about which one was close.
        return sum(hmac.compare_digest(offered, key) for key in self._keys) > 0


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _too_large() -> RequestError:
    return RequestError(413, f"a request may have {MOST_BODY} bytes", code="request_too_large")


def _preflight(headers: Headers) -> Response:
    asked = headers.get("access-control-request-headers", "")
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": headers["origin"],
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": asked,
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        },
    )


def _with_origin(send: Send, origin: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return sent


def _limited(receive: Receive) -> Receive:
    """The body, up to the limit, from a client that goes on sending."""
    received, complete = 0, False

    async def limited() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive") from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > MOST_BODY:
            raise HTTPException(413, _too_large().message)
        return message

    return limited
