"""Lines of a batch: each becomes a request or a reason, and none ends the batch."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from specli.batch.input import Reading, Source
from specli.batch.prompt import Bad
from specli.batch.requests import Defaults, build, request_hash
from specli.errors import SpecliError
from specli.llama.grammar import Grammar
from specli.llama.model import Model, ModelOptions
from specli.sampling.params import SamplingParams
from tests import tiny_gguf as tiny
from tests.hostile.entry import Entry, require_sentence
from tests.hostile.schemas import schema

TEXTS = (
    "a",
    "",
    "\ud83d",
    "\udfff x",
    "\0",
    "\x1b[2J",
    "é" * 50,
    "<|im_start|>",
    "x" * 9999,
    "{text}",
)
NUMBERS: tuple[Any, ...] = (0, 1, -1, 1.5, 1e39, -1e39, 10**30, 2**63, 0.1, True, None, "5", [])
KEYS = (
    *(
        "id",
        "prompt",
        "messages",
        "system",
        "max_tokens",
        "temperature",
        "seed",
        "stop",
        "json_schema",
    ),
    *(
        "prediction",
        "custom_id",
        "method",
        "url",
        "body",
        "samplers",
        "top_p",
        "n",
        "stream",
        "text",
    ),
    *("presence_penalty", "frequency_penalty", "response_format", "max_completion_tokens", "model"),
)


def _messages(rng: random.Random) -> Any:
    def content() -> Any:
        text = rng.choice(TEXTS)
        return rng.choice(
            (text, [{"type": "text", "text": text}], [{"type": "image_url"}], None, 5)
        )

    roles = ("user", "system", "assistant", "tool", "", "x\ud800")
    return [{"role": rng.choice(roles), "content": content()} for _ in range(rng.randrange(4))]


def _value(rng: random.Random) -> Any:
    return rng.choice(
        (
            lambda: rng.choice(TEXTS),
            lambda: rng.choice(NUMBERS),
            lambda: _messages(rng),
            lambda: schema(rng),
            lambda: [rng.choice(TEXTS) for _ in range(rng.randrange(3))],
            lambda: {"type": "json_schema", "json_schema": {"schema": schema(rng)}},
            lambda: {"type": "content", "content": rng.choice(TEXTS)},
        )
    )()


def _line(rng: random.Random) -> str:
    usual: dict[str, Any] = {"prompt": rng.choice(TEXTS)}
    if rng.random() < 0.3:
        usual = {"custom_id": rng.choice(TEXTS), "body": {"messages": _messages(rng)}}
    elif rng.random() < 0.3:
        usual = {"messages": _messages(rng)}
    for _ in range(rng.randrange(4)):
        where = usual["body"] if "body" in usual and rng.random() < 0.7 else usual
        if isinstance(where, dict):
            where[rng.choice(KEYS)] = _value(rng)
    return json.dumps(usual, ensure_ascii=rng.random() < 0.5, allow_nan=True)


def make(rng: random.Random) -> bytes:
    content = bytearray(
        "\n".join(_line(rng) for _ in range(rng.randrange(1, 6))).encode("utf-8", "surrogatepass")
    )
    for _ in range(rng.choice((0, 0, 0, 1, 4))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


@cache
def model() -> Model:
    from tempfile import TemporaryDirectory

    folder = TemporaryDirectory()
    path = Path(folder.name) / "tiny.gguf"
    path.write_bytes(tiny.llama_bytes())
    loaded = Model(path, ModelOptions(vocab_only=True))
    folder.cleanup()
    return loaded


def check(content: bytes, folder: Path) -> str:
    path = folder / "prompts.jsonl"
    path.write_bytes(content)
    answerable = bad = 0
    with path.open("rb", buffering=0) as file:
        for entry in Source(path, file, Reading("jsonl")).entries():
            if isinstance(entry, Bad):
                assert not entry.fault, entry.reason
                require_sentence(entry.reason)
                bad += 1
                continue
            request_hash(entry, {})
            try:
                request = build(model(), entry, Defaults(SamplingParams()))
            except SpecliError as error:
                require_sentence(error.message)
                bad += 1
                continue
            if isinstance(request.grammar, Grammar):
                request.grammar.close()
            answerable += 1
    return "answerable" if not bad else "partly" if answerable else "refused"


def _nested(count: int) -> bytes:
    return b'{"prompt": "a", "json_schema": ' + count * b'{"items": ' + b"{}" + count * b"}" + b"}"


ENTRY = Entry(
    "lines",
    make,
    check,
    seeds=(
        rb'{"id": "cut \ud83d", "prompt": "a"}',
        rb'{"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}]}',
        b'{"prompt": "a", "json_schema": {"type": "string", "pattern": "^*$"}}',
        b'{"prompt": "a", "json_schema": {"type": "string", "maxLength": 20000}}',
        b'{"prompt": "a", "json_schema": {"type": "array", "maxItems": 50000}}',
        b'{"custom_id": "q", "body": {"prompt": "a", "frequency_penalty": 1e39}}',
        b'{"prompt": "a", "max_tokens": ' + 5000 * b"9" + b"}",
        _nested(900),
        _nested(3000),
        _nested(90_000),
    ),
    in_ci=40,
)
