"""How the server listens, who may use it, and how much one request may ask for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from specli.errors import UsageError

LOCALHOST = "localhost"

MOST_BODY = 8 << 20
"""Bytes of one request. A context of 100,000 tokens is about half a megabyte of text."""

MOST_CHOICES = 16
"""Answers to one request (`n`, and prompts of `/v1/completions`)."""

MOST_STOPS = 16
LONGEST_STOP = 1024
"""Stop strings, and characters of one. OpenAI allows four; each costs time for every token."""

MOST_CONSTRAINT = 1 << 16
"""Characters of a grammar, a schema or all tools: they become a grammar, which costs more."""

MOST_LOGPROBS = 20
"""Of OpenAI's API."""

BODY_SECONDS = 30.0
"""The longest wait for the next part of a request."""

SEND_SECONDS = 60.0
"""The longest wait for a client that does not read its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`timeout` and `grace` are in seconds: for an answer, waiting included, and for those that
    still run at shutdown. `max_queue` requests wait for a slot, one more is refused.

    `slots` requests are answered at once (None: as many as memory and costs suggest). With
    `share_suffix` answers of one user draft for others. `alias` is the model's name.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    timeout: float = 600.0
    grace: float = 30.0
    max_queue: int = 128
    slots: int | None = None
    alias: str | None = None
    share_suffix: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for a server that others could reach and that asks for no key."""
        if not self.is_local and not self.keys:
            raise UsageError(
                f"{self.host} can be reached from other machines, and no API key is set",
                hint="set one with --api-key-file FILE, or listen on 127.0.0.1",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host of a URL, brackets removed, is this machine."""
    if host == LOCALHOST or host.endswith(f".{LOCALHOST}"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_keys(given: str | None, file: Path | None) -> tuple[str, ...]:
    """API keys: several in one option are separated by commas, in a file by lines.

    Raises UsageError for a file that cannot be read or has no key.
    """
    keys = [key.strip() for key in (given or "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise UsageError(
                f"the API keys in {file} cannot be read", hint="one key a line, as UTF-8"
            ) from None
        found = [line.strip() for line in lines if not line.lstrip().startswith("#")]
        if not any(found):
            raise UsageError(f"{file} has no API key", hint="write one key a line")
        keys += found
    keys = [key for key in keys if key]
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise UsageError("an API key may have printable ASCII characters only")
    return tuple(dict.fromkeys(keys))
