"""The application: all paths, and errors in the form of the API that was asked."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

import specli
from specli.errors import SpecliError
from specli.server import chat, completions, facts, messages, pages, responses
from specli.server.context import Context
from specli.server.errors import RequestError, request_error
from specli.server.security import Guard, error_response

_UNIONS = ("function-", "list[", "dict[", "union", "tagged-union", "constrained")


def application(context: Context) -> ASGIApp:
    """The whole server as an ASGI application."""
    app = FastAPI(
        title="specli",
        version=specli.__version__,
        description="Speculative decoding of GGUF models, with the APIs of OpenAI, llama-server "
        "and Anthropic.",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(HTTPBearer(auto_error=False, description="An API key, if set."))],
        responses={code: {"description": text} for code, text in _RESPONSES.items()},
    )
    for room in (chat, completions, responses, messages, facts):
        app.include_router(room.routes(context))
    app.include_router(pages.routes())
    for kind in (RequestError, SpecliError, TimeoutError):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    return Guard(app, context.service.settings)


_RESPONSES: dict[int | str, str] = {
    400: "A field has a value that it does not take; the error names it.",
    401: "An API key is needed.",
    403: "The Host or Origin header is not allowed.",
    413: "The body is too large.",
    429: "Too many requests wait; Retry-After says how long to wait.",
    503: "The server is shutting down.",
    504: "The answer took longer than the server allows.",
}


async def _failed(request: Request, error: Exception) -> Response:
    return error_response(request.url.path, request_error(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    refused = RequestError(error.status_code, str(error.detail), kind, headers=error.headers or {})
    return error_response(request.url.path, refused)


async def _invalid(request: Request, error: Exception) -> Response:
    """The first wrong field, without the value: it may be a part of a prompt."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    path = [part for part in first["loc"][1:] if isinstance(part, int) or _is_field(part)]
    name = ".".join(map(str, path)) or None
    message = str(first["msg"])
    if first["type"] == "json_invalid":
        name, message = None, "the body is not valid JSON"
    text = message if name is None else f"{name}: {message[:1].lower()}{message[1:]}"
    return error_response(request.url.path, RequestError(400, text, param=name))


def _is_field(part: object) -> bool:
    """Pydantic appends the names of a union's members to the path."""
    text = str(part)
    names = ("str", "bool", "int", "float", *_MODELS)
    return text not in names and not text.startswith(_UNIONS)


_MODELS = ("Speculative", "NamedTool")
