"""`specli serve`: an OpenAI-compatible server."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from specli.cli.output import Sink
from specli.cli.parameters import own, takes
from specli.errors import UsageError
from specli.option_table import AUTO, GENERATION, OPTIONS
from specli.options import Options

if TYPE_CHECKING:
    from specli.server.serve import Ready

SERVER = "Server"
KEY_VARIABLE = "LLAMA_API_KEY"
"""The environment variable that llama-server reads; a flag would show the key to every user."""

PACKAGES = ("fastapi", "uvicorn", "prometheus_client")

OWN = (
    own("--host", "Address to listen on; one that other machines reach needs an API key.",
        metavar="ADDRESS", default="127.0.0.1", group=SERVER),
    own("--port", "Port to listen on; 0 takes a free one.", "integer", least=0, most=65535,
        default="8080", group=SERVER),
    own("-np --parallel", "Requests that are answered at once.", "integer", metavar="N|auto",
        least=1, most=256, words=(AUTO,), default="auto, by memory and measured costs",
        group=SERVER),
    own("-a --alias", "Name of the model in answers.", metavar="NAME",
        default="the file's name", group=SERVER),
    own("--api-key", "Keys that requests must carry, separated by commas; better in a file or in "
        f"{KEY_VARIABLE}.", metavar="KEY", group=SERVER),
    own("--api-key-file", "Read the keys from a file, one a line.", "file", group=SERVER),
    own("--cors", "Web origins that may send requests, separated by commas.", metavar="ORIGIN,...",
        group=SERVER),
    own("--max-queue", "Requests that may wait for a slot; more get 429.", "integer", least=0,
        default="128", group=SERVER),
    own("--grace", "Time that answers have at shutdown.", "duration", default="30s",
        group=SERVER),
    own("--share-suffix", "Draft for each user from the answers of all.", "switch", group=SERVER),
    replace(OPTIONS["timeout"], group=SERVER, default="10m"),
    replace(OPTIONS["reasoning_format"], group=SERVER, default=AUTO),
)  # fmt: skip


@takes(*OWN, *(name for name in GENERATION if name != "raw"), "quiet", "verbose")
def serve(*, options: Options, **given: Any) -> None:
    """Serve a model over HTTP, in the forms of OpenAI, Anthropic and llama-server.

    Its page with a conversation is at /, the reference of its API at /docs.

    Examples:
      specli serve
      specli serve -m target.gguf -md draft.gguf --port 8000
      specli serve -m target.gguf -np 4 --host 0.0.0.0 --api-key-file keys.txt
    """
    require_packages("serve", PACKAGES)

    from specli.server.serve import serve as run
    from specli.server.settings import Settings, read_keys

    sink = Sink.of(options)
    origins = str(given.get("cors") or "").split(",")
    key = given.get("api_key") or os.environ.get(KEY_VARIABLE)
    names = ("host", "port", "grace", "max_queue", "alias", "share_suffix")
    fields = {name: given[name] for name in names if name in given}
    if options.timeout is not None:
        fields["timeout"] = options.timeout
    settings = Settings(
        keys=read_keys(key, given.get("api_key_file")),
        origins=tuple(one.strip() for one in origins if one.strip()),
        slots=None if given.get("parallel") == AUTO else given.get("parallel"),
        **fields,
    )
    run(options, settings, sink.feedback(), lambda ready: sink.remark(_welcome(ready)))


def require_packages(extra: str, packages: tuple[str, ...]) -> None:
    """Raises UsageError where an extra of the package is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"`specli {extra}` needs packages that are not installed: {', '.join(missing)}",
            hint=f'install them with: pip install "specli[{extra}]"',
        )


def _welcome(ready: Ready) -> str:
    drafters = ", ".join(ready.drafters) or "none"
    return (
        f"{ready.model}: {ready.slots} slots of {ready.n_ctx} tokens, drafters: {drafters}\n"
        f"page: {ready.url}  API: {ready.url}/v1"
    )
