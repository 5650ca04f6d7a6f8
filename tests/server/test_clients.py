"""The packages that people use as clients."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@pytest.fixture
def client(served: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_reads_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any", messages=MESSAGES, max_completion_tokens=8, n=2, seed=1, temperature=0.7,
        logprobs=True, top_logprobs=2, extra_body={"speculative": {"n_max": 2}, "top_k": 20},
    )  # fmt: skip
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    assert len(content) == 8
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_openai_reads_a_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="any", messages=MESSAGES, max_tokens=8)
    stream = client.chat.completions.create(
        model="any", messages=MESSAGES, max_tokens=8, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


def test_openai_gets_json_by_a_schema_and_counts_a_prediction(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any", messages=MESSAGES, max_tokens=200,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
        },
        prediction={"type": "content", "content": '{"ok": true}'},
    )  # fmt: skip
    text = answer.choices[0].message.content
    assert text is not None
    assert set(json.loads(text)) == {"ok"}
    assert answer.usage is not None
    details = answer.usage.completion_tokens_details
    assert details is not None
    assert details.accepted_prediction_tokens is not None
    assert details.rejected_prediction_tokens is not None


def test_openai_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="any", messages=MESSAGES, top_p=7)
    assert wrong.value.param == "top_p"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_openai_lists_models_and_completes_text(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["target"]
    answer = client.completions.create(model="any", prompt="abc", max_tokens=4, logprobs=2)
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.tokens is not None
    assert len(answer.choices[0].logprobs.tokens) == 4


def test_openai_can_stop_reading(client: openai.OpenAI, served: Running) -> None:
    stream = client.chat.completions.create(
        model="any", messages=MESSAGES, stream=True, max_tokens=3000
    )
    next(iter(stream))
    stream.close()
    answer = client.chat.completions.create(model="any", messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.content is not None


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_reads_a_stream(served: Running) -> None:
    body = json.dumps({"messages": MESSAGES, "stream": True, "max_tokens": 4})
    done = subprocess.run(
        ["curl", "-sS", "-N", served.url + "/v1/chat/completions",
         "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("data: [DONE]\n\n")


OPEN_WEBUI = {
    # open_webui/utils/middleware.py and routers/openai.py: what a chat with a model sends on.
    "stream": True,
    "model": "target",
    "messages": [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    ],
    "stream_options": {"include_usage": True},
    "max_tokens": 6,
}
OPEN_WEBUI_TITLE = {
    # Its task of naming a chat.
    "model": "target",
    "messages": [{"role": "user", "content": "### Task:\nGenerate a concise title"}],
    "stream": False,
    "max_completion_tokens": 6,
}
AIDER = {
    # aider/models.py through LiteLLM: `openai/<name>` with OPENAI_API_BASE.
    "model": "target",
    "messages": [
        {"role": "system", "content": "Act as an expert software developer."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Ok."},
        {"role": "user", "content": "add a test"},
    ],
    "temperature": 0,
    "stream": True,
    "max_tokens": 6,
    "extra_headers": None,
}


@pytest.mark.parametrize(
    "body", [OPEN_WEBUI, OPEN_WEBUI_TITLE, AIDER], ids=["webui", "title", "aider"]
)
def test_bodies_of_open_webui_and_aider_are_answered(served: Running, body: dict[str, Any]) -> None:
    answer = served.post("/v1/chat/completions", body)
    assert answer.status_code == 200
    if body["stream"]:
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.json()["choices"][0]["message"]["role"] == "assistant"
