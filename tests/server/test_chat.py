"""`/v1/chat/completions` and `/v1/completions`: what is asked for is what comes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from specli.app.run import run
from specli.options import Options
from tests.server.conftest import Running, Start

PROMPTS = ["hello", "one two three", "x", "The quick brown fox jumps over the lazy dog"]


def text(answer: dict[str, Any], index: int = 0) -> str:
    found = answer["choices"][index]["message"]["content"]
    assert isinstance(found, str)
    return found


def events(served: Running, path: str, body: dict[str, Any]) -> list[Any]:
    """The data of a streamed answer."""
    with httpx.stream("POST", served.url + path, json={**body, "stream": True}, timeout=60) as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in got.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_every_text_is_that_of_specli_run_however_many_are_asked_at_once(
    served: Running, folder: Any, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECLI_CACHE", str(folder / "cache"))
    options = Options(
        profile=str(folder / "target.yaml"), threads=1, ctx_size=4096,
        predict=12, seed=7, temp=temperature,
    )  # fmt: skip
    alone = [run(options, prompt).generation.text for prompt in PROMPTS]
    with ThreadPoolExecutor(8) as pool:
        fields = {"seed": 7, "temperature": temperature}
        answers = list(pool.map(lambda prompt: served.chat(prompt, **fields), PROMPTS * 2))
    assert [text(answer) for answer in answers] == alone * 2


def test_a_stream_brings_the_same_text_and_the_figures_at_its_end(served: Running) -> None:
    whole = served.chat()
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 12}
    found = events(
        served, "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}
    )
    deltas = [one["choices"][0]["delta"] for one in found if one["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == text(whole)
    last = [one for one in found if one["choices"]][-1]
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["timings"]["predicted_n"] == 12
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] == 12


def test_usage_timings_and_acceptance_agree(served: Running) -> None:
    answer = served.chat("hello hello", max_tokens=40)
    timings, usage = answer["timings"], answer["usage"]
    block = answer["metrics"]["speculative_decoding"]
    assert usage["completion_tokens"] == timings["predicted_n"] == 40
    assert usage["prompt_tokens"] == timings["prompt_n"] + timings["cache_n"]
    assert timings["draft_n"] == block["num_draft_tokens"] > 0
    assert timings["draft_n_accepted"] == block["num_accepted_draft_tokens"]
    histogram = block["acceptance_histogram"]
    assert sum(histogram) == block["num_spec_steps"]
    accepted = sum(count * steps for count, steps in enumerate(histogram))
    assert accepted == block["num_accepted_draft_tokens"]


def test_n_answers_differ_in_their_seeds_and_the_first_has_the_one_given(served: Running) -> None:
    fields: dict[str, Any] = {"temperature": 1.5, "seed": 11}
    three = served.chat(n=3, **fields)
    texts = [text(three, index) for index in range(3)]
    assert texts[0] == text(served.chat(**fields))
    assert len(set(texts)) == 3
    assert three["usage"]["completion_tokens"] == 36


def test_logprobs_rank_the_chosen_token_first_when_decoding_greedily(served: Running) -> None:
    content = served.chat(logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    assert len(content) == 12
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["logprob"] == entry["logprob"] < 0


def test_a_bias_forbids_a_token(served: Running) -> None:
    first = served.chat(logprobs=True)["choices"][0]["logprobs"]["content"][0]
    token = served.post("/tokenize", {"content": first["token"]}).json()["tokens"][0]
    other = served.chat(logprobs=True, logit_bias={str(token): -100})
    assert other["choices"][0]["logprobs"]["content"][0]["token"] != first["token"]


def test_an_answer_ends_before_a_stop_string(served: Running) -> None:
    whole = text(served.chat(temperature=1.0, seed=3, max_tokens=30))
    stop = whole[5:7]
    answer = served.chat(temperature=1.0, seed=3, max_tokens=30, stop=[stop])
    assert text(answer) == whole[: whole.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_a_text_follows_a_schema_or_a_grammar(served: Running) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
        "required": ["ok", "size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    found = json.loads(text(served.chat(response_format=form, max_tokens=200)))
    assert set(found) == {"ok", "size"}
    assert found["size"] in ("small", "large")
    assert text(served.chat(grammar='root ::= "yes" | "no"')) in ("yes", "no")


def test_a_prediction_that_is_right_is_accepted(served: Running) -> None:
    whole = text(served.chat(max_tokens=60, temperature=1.0, seed=5))
    predicted = {"type": "content", "content": whole}
    answer = served.chat(
        max_tokens=60, temperature=1.0, seed=5, prediction=predicted,
        speculative={"drafters": ["prediction"]},
    )  # fmt: skip
    details = answer["usage"]["completion_tokens_details"]
    assert text(answer) == whole
    assert details["accepted_prediction_tokens"] > 10
    assert details["accepted_prediction_tokens"] <= answer["timings"]["draft_n_accepted"]


OFF: list[dict[str, Any]] = [
    {"speculative": False},
    {"speculative": {"n_max": 0}},
    {"speculative": {"type": "none"}},
    {"speculative.n_max": 0},
    {"speculative_config": {"num_speculative_tokens": 0}},
]


@pytest.mark.parametrize("fields", OFF, ids=str)
def test_one_request_can_turn_speculation_off(served: Running, fields: dict[str, Any]) -> None:
    answer = served.chat("hello hello", max_tokens=30, **fields)
    assert answer["timings"]["draft_n"] == 0
    assert text(answer) == text(served.chat("hello hello", max_tokens=30))


LIMITED: list[dict[str, Any]] = [
    {"speculative": {"n_max": 1, "drafters": ["draft"]}},
    {"speculative.n_max": 1, "speculative.type": "draft-simple"},
    {"speculative_config": {"method": "draft_model", "num_speculative_tokens": 1}},
]


@pytest.mark.parametrize("fields", LIMITED, ids=str)
def test_one_request_can_bound_its_drafts(served: Running, fields: dict[str, Any]) -> None:
    answer = served.chat("hello hello", max_tokens=30, **fields)
    block = answer["metrics"]["speculative_decoding"]
    assert block["num_draft_tokens"] == block["num_spec_steps"] > 0
    assert text(answer) == text(served.chat("hello hello", max_tokens=30))


def test_tokens_say_who_proposed_them(served: Running) -> None:
    body = {"messages": [{"role": "user", "content": "hello hello"}], "max_tokens": 30}
    found = events(served, "/v1/chat/completions", {**body, "token_sources": True})
    rounds = [one["round"] for one in found if "round" in one]
    tokens = [token for one in rounds for token in one["tokens"]]
    assert len(tokens) == 30
    assert {token["source"] for token in tokens} == {"target", "draft"}
    for token in tokens:
        assert token["rank"] == 0
        assert (token["confidence"] is not None) == (token["source"] == "draft")


def test_the_next_turn_of_a_conversation_finds_the_last_one_in_the_cache(served: Running) -> None:
    first = {"role": "user", "content": "tell me a story about a very long winter"}
    answer = served.post(
        "/v1/chat/completions", {"messages": [first], "max_tokens": 12, "logit_bias": {}}
    ).json()
    said = {"role": "assistant", "content": answer["choices"][0]["message"]["content"]}
    more = {"role": "user", "content": "go on"}
    second = served.post(
        "/v1/chat/completions", {"messages": [first, said, more], "max_tokens": 4}
    ).json()
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= answer["usage"]["prompt_tokens"] - 1


def test_completions_take_texts_and_tokens(served: Running) -> None:
    tokens = served.post("/tokenize", {"content": "abc", "add_special": True}).json()["tokens"]
    body = {"max_tokens": 6, "logprobs": 1}
    both = served.post("/v1/completions", {**body, "prompt": ["abc", "xyz"]}).json()
    one = served.post("/v1/completions", {**body, "prompt": tokens}).json()
    assert [choice["index"] for choice in both["choices"]] == [0, 1]
    assert one["choices"][0]["text"] == both["choices"][0]["text"]
    assert len(one["choices"][0]["logprobs"]["tokens"]) == 6
    found = events(served, "/v1/completions", {**body, "prompt": "abc"})
    assert "".join(event["choices"][0]["text"] for event in found) == one["choices"][0]["text"]


WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"temperature": -1}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 1000}, "n"),
    ({"stop": ["x"] * 100}, "stop"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 100}, "top_logprobs"),
    ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": "x" * 9000}]}, "messages"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"grammar": "root ::= ("}, None),
    ({"grammar": 'root ::= "a"', "json_schema": {}}, "grammar"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ({"speculative": {"drafters": ["eagle"]}}, "speculative.drafters"),
    ({"speculative_config": {"model": "org/other"}}, "speculative_config.model"),
    ({"prediction": {"type": "content", "content": "\ud800"}}, "prediction"),
    ({"seed": 1 << 70}, "seed"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=lambda one: str(one)[:50])
def test_a_wrong_value_gets_an_error_that_names_its_field(
    served: Running, fields: dict[str, Any], param: str | None
) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], **fields})
    answer = httpx.post(
        served.url + "/v1/chat/completions",
        content=body, headers={"content-type": "application/json"}, timeout=30,
    )  # fmt: skip
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_unknown_fields_and_nulls_are_ignored(served: Running) -> None:
    assert text(served.chat(foo=1, metadata={"a": "b"}, stop=None, tools=None)) == text(
        served.chat()
    )


def test_a_body_that_is_no_json_is_an_error_and_not_a_fault(served: Running) -> None:
    for content in (b"{", b"[" * 100_000, b"\xff\xfe"):
        answer = httpx.post(
            served.url + "/v1/chat/completions",
            content=content, headers={"content-type": "application/json"}, timeout=30,
        )  # fmt: skip
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_a_draft_of_another_vocabulary_changes_no_answer(served: Running, start: Start) -> None:
    foreign = start("foreign")
    fields = {"temperature": 0.8, "seed": 5, "max_tokens": 40}
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(foreign.chat, text, **fields) for text in ("the cat", "one", "a b c")]
    expected = [served.chat(text, **fields) for text in ("the cat", "one", "a b c")]
    answers = [one.result() for one in asked]
    assert [one["choices"] for one in answers] == [one["choices"] for one in expected]
    assert all(one["timings"]["draft_n"] > 0 for one in answers)
