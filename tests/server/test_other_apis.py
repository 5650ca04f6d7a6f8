"""Anthropic's messages and OpenAI's responses: the same text in other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.server.conftest import Running
from tests.server.test_tools import WEATHER

ASKED: Any = [{"role": "user", "content": "hello"}]
FUNCTION = WEATHER["function"]
ANTHROPIC_TOOL: Any = {"name": "weather", "input_schema": FUNCTION["parameters"]}
RESPONSE_TOOL: Any = {"type": "function", **FUNCTION}


@pytest.fixture
def claude(hermes: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=hermes.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def client(hermes: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=hermes.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def chat_text(hermes: Running, **more: Any) -> str:
    found = hermes.chat("hello", **more)["choices"][0]["message"]["content"]
    assert isinstance(found, str)
    return found


def test_anthropic_reads_whole_and_streamed_text(
    claude: anthropic.Anthropic, hermes: Running
) -> None:
    answer = claude.messages.create(model="any", max_tokens=12, messages=ASKED)
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == chat_text(hermes)
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 12
    with claude.messages.stream(model="any", max_tokens=12, messages=ASKED) as stream:
        assert "".join(stream.text_stream) == block.text
        assert stream.get_final_message().stop_reason == "max_tokens"


def test_anthropic_learns_which_stop_sequence_ended_the_text(
    claude: anthropic.Anthropic, hermes: Running
) -> None:
    stop = chat_text(hermes)[2:4]
    answer = claude.messages.create(
        model="any", max_tokens=12, messages=ASKED, stop_sequences=[stop, "never said"]
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)


def test_anthropic_calls_functions_and_sends_results(claude: anthropic.Anthropic) -> None:
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    fields: Any = {"model": "any", "max_tokens": 300, "tools": [ANTHROPIC_TOOL]}
    answer = claude.messages.create(messages=ASKED, tool_choice=choice, **fields)
    (call,) = answer.content
    assert call.type == "tool_use"
    assert set(call.input) == {"city", "unit"}
    assert answer.stop_reason == "tool_use"
    with claude.messages.stream(messages=ASKED, tool_choice=choice, **fields) as stream:
        (streamed,) = stream.get_final_message().content
    assert streamed.type == "tool_use"
    assert streamed.input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns: Any = [
        *ASKED,
        {"role": "assistant", "content": [call.model_dump()]},
        {"role": "user", "content": [result, {"type": "text", "text": "thanks"}]},
    ]
    more = claude.messages.create(model="any", max_tokens=4, messages=turns, system="Be kind.")
    assert more.usage.output_tokens <= 4
    assert claude.messages.count_tokens(model="any", messages=turns).input_tokens > 20


def test_anthropic_raises_its_own_errors(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as wrong:
        claude.messages.create(model="any", max_tokens=4, messages=ASKED, extra_body={"top_p": 9})
    body: Any = wrong.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert "top_p" in body["error"]["message"]


def test_responses_are_whole_and_streamed_text(client: openai.OpenAI, hermes: Running) -> None:
    answer = client.responses.create(model="any", input="hello", max_output_tokens=12)
    assert answer.output_text == chat_text(hermes)
    assert answer.status == "incomplete"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 12
    text, kinds = "", []
    for event in client.responses.create(
        model="any", input=ASKED, max_output_tokens=12, stream=True
    ):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == answer.output_text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.incomplete"


def test_responses_follow_a_schema_and_call_functions(client: openai.OpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "w", "schema": FUNCTION["parameters"]}}
    answer = client.responses.create(model="any", input="hello", text=form)
    assert set(json.loads(answer.output_text)) == {"city", "unit"}
    fields: Any = {
        "model": "any", "tools": [RESPONSE_TOOL], "tool_choice": "required",
        "parallel_tool_calls": False,
    }  # fmt: skip
    called = client.responses.create(input="hello", **fields)
    (call,) = called.output
    assert call.type == "function_call"
    assert set(json.loads(call.arguments)) == {"city", "unit"}
    with client.responses.stream(input="hello", **fields) as stream:
        for _event in stream:
            pass
        (streamed,) = stream.get_final_response().output
    assert streamed.type == "function_call"
    assert streamed.arguments == call.arguments
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turns: Any = [{"role": "user", "content": "hello"}, call.model_dump(), output]
    more = client.responses.create(model="any", input=turns, max_output_tokens=4)
    assert more.usage is not None


def test_a_stored_response_cannot_be_continued(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="any", input="x", previous_response_id="resp_1")
