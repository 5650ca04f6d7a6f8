"""Errors as clients of OpenAI's and of Anthropic's API read them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from specli.errors import ClosedError, PromptTooLongError, SpecliError, UsageError
from specli.escapes import NO_UNICODE, is_unicode

INVALID = "invalid_request_error"

_ANTHROPIC = {
    400: INVALID,
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Types of Anthropic's errors by status; others are `api_error`."""

TOO_LONG = "context_length_exceeded"

NO_RETRY = {"x-should-retry": "false"}
"""Read by the clients of OpenAI and Anthropic, which otherwise ask again after 5xx."""


@dataclass(slots=True)
class RequestError(Exception):
    """A request that is not answered. `param` names the field that is wrong."""

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, object]:
        """OpenAI's error object."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def anthropic_body(self) -> dict[str, object]:
        """Anthropic's error object."""
        kind = _ANTHROPIC.get(self.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}}


def wrong(param: str, message: str) -> RequestError:
    """A field with a value that it does not take."""
    return RequestError(400, f"{param}: {message}", param=param)


def require_unicode(value: object, name: str) -> None:
    """Raises RequestError for half of a surrogate pair, which JSON's escapes can spell."""
    if not is_unicode(value):
        raise wrong(name, NO_UNICODE)


def request_error(error: BaseException) -> RequestError:
    """What a client is told about an error. Text of the request is not repeated."""
    match error:
        case RequestError():
            return error
        case PromptTooLongError():
            return RequestError(400, error.message, param="messages", code=TOO_LONG)
        case UsageError():
            hint = f" ({error.hint})" if error.hint and "--" not in error.hint else ""
            return RequestError(400, error.message + hint)
        case ClosedError():
            return RequestError(503, "the server is shutting down", "server_error", code="closed")
        case asyncio.TimeoutError():
            return RequestError(
                504, "the answer took longer than the server allows", "timeout", headers=NO_RETRY
            )
        case SpecliError():
            return RequestError(500, error.message, "server_error", headers=NO_RETRY)
        case _:
            name = type(error).__name__
            return RequestError(
                500, f"a fault of the server: {name}", "server_error", headers=NO_RETRY
            )
