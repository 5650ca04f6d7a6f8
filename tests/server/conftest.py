"""A server on tiny models, in this process, on a free port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from specli.api.sampling import SamplingParams
from specli.api.thread import EngineThread
from specli.app.feedback import SILENT
from specli.app.prepare import prepared_setup, with_profile
from specli.options import Options
from specli.server import run
from specli.server.context import Context
from specli.server.serve import context_of, drafting_of
from specli.server.settings import Settings
from specli.session import Session
from tests import tiny_gguf as tiny

CONTEXT = 4096

EXACT = "exact.yaml"
"""A profile whose logits do not depend on which requests run side by side."""

HERMES = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
    "call as <tool_call>{}</tool_call><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}<tool_call>{{ call.function | tojson }}"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Running:
    """A server that takes requests."""

    url: str
    context: Context
    server: uvicorn.Server
    folder: Path

    def stop(self) -> None:
        """Begin the shutdown, as a signal does."""
        self.server.should_exit = True

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=60, **more)

    def chat(self, text: str = "hello", **fields: Any) -> dict[str, Any]:
        """A whole answer to one message."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, **fields}
        answer = self.post("/v1/chat/completions", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models; what specli learns of them is kept there too."""
    folder = tmp_path_factory.mktemp("served")
    shape = tiny.Shape(context=CONTEXT)
    hermes = replace(tiny.bpe_vocabulary(), chat_template=HERMES)
    tiny.write(folder / "target.gguf", tiny.llama_bytes(shape=shape))
    tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1, shape=shape))
    tiny.write(folder / "hermes.gguf", tiny.llama_bytes(hermes, shape=shape))
    thinking = replace(hermes, chat_template=HERMES.rstrip() + "{{ '<think>\\n' }}")
    tiny.write(folder / "thinking.gguf", tiny.llama_bytes(thinking, shape=shape))
    for name in ("target", "hermes", "thinking"):
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\ndescription: the tiny pair\ntarget: {folder}/{name}.gguf\n"
            f"draft: {folder}/draft.gguf\n"
            "defaults: {cache_type_k: f32, cache_type_v: f32, flash_attn: 'off', draft_max: 4}\n"
        )
    tiny.write(
        folder / "sentencepiece.gguf",
        tiny.llama_bytes(replace(tiny.spm_vocabulary(), chat_template=None), shape=shape),
    )
    (folder / "foreign.yaml").write_text(
        f"name: foreign\ndescription: two vocabularies\ntarget: {folder}/target.gguf\n"
        f"draft: {folder}/sentencepiece.gguf\n"
        "defaults: {cache_type_k: f32, cache_type_v: f32, flash_attn: 'off', draft_max: 4}\n"
    )
    (folder / "suffix.yaml").write_text(
        f"name: suffix\ndescription: one drafter\ntarget: {folder}/target.gguf\n"
        "defaults: {cache_type_k: f32, cache_type_v: f32, spec_type: suffix, draft_max: 4}\n"
    )
    return folder


@contextmanager
def serving(
    folder: Path,
    profile: str = "target",
    slots: int = 2,
    *,
    ctx_size: int = CONTEXT,
    exact: bool | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """A server while the context lasts."""
    path = str(folder / f"{profile}.yaml")
    options = Options(profile=path, threads=1, ctx_size=ctx_size, exact=exact)
    own = Settings(port=0, **settings)
    filled, chosen = with_profile(options)

    def load() -> Session:
        setup = prepared_setup(filled, chosen, SILENT, slots=slots)
        setup = replace(setup, speculative=drafting_of(setup, share=own.share_suffix))
        return Session(setup, folder / "probes")

    with ExitStack() as stack:
        thread = stack.enter_context(closing(EngineThread(load)))
        context = context_of(thread, own, filled, SamplingParams.of_options(filled))
        listener = stack.enter_context(run.bound(own.host, own.port))
        ready = threading.Event()
        server = run.server_of(context, ready.set)
        looping = threading.Thread(target=server.run, args=([listener],))
        looping.start()
        stack.callback(looping.join)
        stack.callback(setattr, server, "should_exit", True)
        assert ready.wait(30)
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", context, server, folder)


@pytest.fixture(scope="package")
def served(folder: Path) -> Iterator[Running]:
    """One server for all tests that change nothing of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECLI_CACHE", str(folder / "cache"))
        with serving(folder) as running:
            yield running


@pytest.fixture(scope="package")
def hermes(folder: Path) -> Iterator[Running]:
    """One whose template knows tools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECLI_CACHE", str(folder / "cache"))
        with serving(folder, "hermes") as running:
            yield running


@pytest.fixture
def start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers with settings of their own."""
    monkeypatch.setenv("SPECLI_CACHE", str(folder / "cache"))
    with ExitStack() as stack:

        def start(profile: str = "target", slots: int = 2, **settings: Any) -> Running:
            return stack.enter_context(serving(folder, profile, slots, **settings))

        yield start
