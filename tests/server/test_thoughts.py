"""What a model thinks before it answers is told from the answer, in every form of the API."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from specli.llama import reasoning
from specli.llama.reasoning import Thoughts, parted
from tests.server.conftest import Running, Start

ASKED: Any = [{"role": "user", "content": "hello"}]
WRITTEN = (
    "<think>\nSo: 1 < 2.\n\n</think>\n\nTwo.",
    " <think></think>Two.",
    "[THINK] a [/TH b [/THINK] <think> c",
    "<think> not done ",
    "<thin air",
    "  <",
    "no thought </think> at all",
    "",
)


@pytest.mark.parametrize("prompt", ["user: hi", "assistant: <think>\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("text", WRITTEN)
def test_reasoning_is_the_same_in_one_piece_and_in_many(text: str, size: int, prompt: str) -> None:
    reader, told = Thoughts(prompt), []
    for start in range(0, len(text), size):
        told.append(reader.take(text[start : start + size]))
    told.append(reader.take("", final=True))
    thought, answer = ("".join(parts) for parts in zip(*told, strict=True))
    assert (thought or None, answer) == parted(text, prompt)


def test_reasoning_arrives_before_it_is_complete() -> None:
    reader = Thoughts("")
    assert reader.take("<think>one two") == ("one two", "")
    assert reader.take(" three </thi") == (" three", "")
    assert reader.take("nk> four") == ("", "four")


@pytest.fixture
def thinking(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Running, str, str]:
    """A server whose model thinks until it writes a certain text, its reasoning and its answer."""
    running = start("thinking")
    text = running.chat(reasoning_format="none")["choices"][0]["message"]["content"]
    monkeypatch.setattr(reasoning, "MARKS", (("<think>", text[6:8]),))
    thought, answer = parted(text, "<think>")
    assert thought
    assert answer
    return running, thought, answer


def test_chat_completions_have_reasoning_content(thinking: tuple[Running, str, str]) -> None:
    running, thought, answer = thinking
    whole = running.chat()
    message = whole["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == (thought, answer)
    assert 0 < whole["usage"]["completion_tokens_details"]["reasoning_tokens"] < 12
    told: dict[str, str] = {"reasoning_content": "", "content": ""}
    with openai.OpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0) as client:
        for chunk in client.chat.completions.create(
            model="any", messages=ASKED, max_tokens=12, stream=True
        ):
            for name in told:
                told[name] += getattr(chunk.choices[0].delta, name, None) or ""
        response = client.responses.create(model="any", input="hello", max_output_tokens=12)
    assert told == {"reasoning_content": thought, "content": answer}
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output_text == answer


def test_anthropic_reads_thinking_blocks(thinking: tuple[Running, str, str]) -> None:
    running, thought, answer = thinking
    with anthropic.Anthropic(base_url=running.url, api_key="none", max_retries=0) as client:
        fields: Any = {"model": "any", "messages": ASKED, "max_tokens": 12}
        with client.messages.stream(**fields) as stream:
            streamed = stream.get_final_message()
        for message in (client.messages.create(**fields), streamed):
            blocks: Any = message.content
            first, second = blocks
            assert (first.type, second.type) == ("thinking", "text")
            assert (first.thinking, second.text) == (thought, answer)
