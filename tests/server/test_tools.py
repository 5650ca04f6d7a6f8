"""Calls of functions: read from what models write, part by part, and written by grammar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specli.llama.decoder import Logits
from specli.llama.guidance import Guide, lark_rules
from specli.llama.model import Model
from specli.llama.vocab import Vocab
from specli.sampling.triggered import Triggered
from specli.server.fields import Chat
from specli.server.tools.choice import tool_use
from specli.server.tools.constraint import call_rules
from specli.server.tools.formats import (
    GENERIC,
    HERMES,
    LLAMA3,
    MISTRAL,
    MISTRAL_ARGS,
    ToolFormat,
    format_of,
)
from specli.server.tools.reader import Delta, Reader
from tests import tiny_gguf
from tests.server.conftest import Running

NAMES = ("weather", "time")
PARIS = '{"city": "Paris", "note": "a \\"}\\" b"}'
CALL = f'{{"name": "weather", "arguments": {PARIS}}}'
TIME = '{"name": "time", "arguments": {}}'

WRITTEN: list[tuple[ToolFormat, str, str, list[tuple[str, str]]]] = [
    (HERMES, "just text <tool", "just text <tool", []),
    (HERMES, f"<tool_call>\n{CALL}\n</tool_call>", "", [("weather", PARIS)]),
    (
        HERMES,
        f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{TIME}</tool_call>",
        "Let me see.",
        [("weather", PARIS), ("time", "{}")],
    ),
    (HERMES, f'<tool_call>{{"arguments": {PARIS}, "name": "weather"}}', "", [("weather", PARIS)]),
    (HERMES, '<tool_call>{"name": "other"}', '<tool_call>{"name": "other"}', []),
    (HERMES, f"<tool_call>{CALL}</tool_call> done", "done", [("weather", PARIS)]),
    (MISTRAL, f"[TOOL_CALLS][{CALL}, {TIME}]", "", [("weather", PARIS), ("time", "{}")]),
    (MISTRAL, f"[TOOL_CALLS] [{CALL}]", "", [("weather", PARIS)]),
    (MISTRAL, f"[TOOL_CALLS]weather[ARGS]{PARIS}", "", [("weather", PARIS)]),
    (
        MISTRAL,
        f"[TOOL_CALLS]weather{PARIS}[TOOL_CALLS]time{{}}",
        "",
        [("weather", PARIS), ("time", "{}")],
    ),
    (LLAMA3, f'{{"name": "weather", "parameters": {PARIS}}}', "", [("weather", PARIS)]),
    (LLAMA3, f'<|python_tag|>{{"name": "weather", "parameters": {PARIS}}}', "",
     [("weather", PARIS)]),
    (LLAMA3, f"{CALL}; {TIME}", "", [("weather", PARIS), ("time", "{}")]),
    (LLAMA3, "Hello {there}", "Hello {there}", []),
    (GENERIC, f" \n{CALL}", "", [("weather", PARIS)]),
    (GENERIC, f"[{CALL}, {TIME}]", "", [("weather", PARIS), ("time", "{}")]),
    (GENERIC, f'{CALL}\n{{"name": "time",', "", [("weather", PARIS)]),
    (HERMES, f'<tool_call>{CALL}</tool_call>\n<tool_call>{{"name": ', "", [("weather", PARIS)]),
    (GENERIC, '{"answer": 42}', '{"answer": 42}', []),
    (GENERIC, "{ this is no JSON", "{ this is no JSON", []),
    (GENERIC, '{"name": "weather", "arguments": "{\\"city\\": 1}"}', "",
     [("weather", '{"city": 1}')]),
]  # fmt: skip


def read(form: ToolFormat, text: str, size: int) -> tuple[list[Delta], Reader]:
    reader = Reader(form, NAMES)
    deltas = []
    for start in range(0, len(text), size):
        deltas += reader.feed(text[start : start + size])
    return deltas + reader.finish(), reader


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("form", "text", "shown", "calls"), WRITTEN, ids=lambda one: str(one)[:40])
def test_calls_are_read_from_text_in_parts(
    form: ToolFormat, text: str, shown: str, calls: list[tuple[str, str]], size: int
) -> None:
    deltas, reader = read(form, text, size)
    assert "".join(delta.text for delta in deltas) == shown
    assert [(call.name, call.arguments) for call in reader.calls] == calls
    streamed: dict[int, list[str]] = {}
    for delta in deltas:
        if delta.name is not None:
            streamed[delta.index] = [delta.name, ""]
        elif delta.arguments:
            streamed[delta.index][1] += delta.arguments
    assert [tuple(one) for _index, one in sorted(streamed.items())] == calls


def test_arguments_are_passed_on_before_the_call_is_complete() -> None:
    reader = Reader(HERMES, NAMES)
    deltas = reader.feed('<tool_call>{"name": "weather", "arguments": {"city": "Par')
    assert [delta.name for delta in deltas if delta.name] == ["weather"]
    assert "".join(delta.arguments for delta in deltas) == '{"city": "Par'


def test_where_one_call_is_wanted_the_second_is_dropped() -> None:
    reader = Reader(HERMES, NAMES, most=1)
    deltas = reader.feed(f"<tool_call>{CALL}</tool_call><tool_call>{TIME}</tool_call>")
    deltas += reader.finish()
    assert [call.name for call in reader.calls] == ["weather"]
    assert all(not delta.text for delta in deltas)


def test_templates_show_their_family() -> None:
    assert format_of("{{ tools }} <tool_call>").name == "hermes"
    assert format_of("{{ tools }} [TOOL_CALLS]").last == "]"
    assert format_of("{{ tools }} [TOOL_CALLS] [ARGS]").named == "[ARGS]"
    assert format_of('{{ tools }} {"name": x, "parameters": y}').name == "llama3"
    assert format_of("{{ messages }}").name == "generic"
    assert format_of(None).name == "generic"


WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Paris", "Rome"]},
                "unit": {"$ref": "#/$defs/unit"},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
            "$defs": {"unit": {"enum": ["C", "F"]}},
        },
    },
}
TIME_TOOL = {"type": "function", "function": {"name": "time", "parameters": None}}


@pytest.mark.parametrize("server", ["hermes", "served"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=str
)
def test_a_chosen_call_is_valid_whatever_the_model_would_say(
    request: pytest.FixtureRequest, server: str, choice: Any
) -> None:
    served = request.getfixturevalue(server)
    answer = served.chat(
        "weather?", tools=[WEATHER], tool_choice=choice, max_tokens=300, parallel_tool_calls=False
    )["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    (call,) = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["city"] in ("Paris", "Rome")
    assert arguments["unit"] in ("C", "F")
    assert answer["message"]["content"] is None


def test_calls_that_the_limit_cuts_short_are_told_by_the_reason(served: Running) -> None:
    """Clients would take a call that is not complete for one that is."""
    asked = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    whole = served.chat("weather?", max_tokens=300, **asked)
    most = whole["usage"]["completion_tokens"] - 3
    cut = served.chat("weather?", max_tokens=most, **asked)["choices"][0]
    assert cut["finish_reason"] == "length"
    assert cut["message"]["content"] is None
    assert cut["message"]["tool_calls"][0]["function"]["name"] == "weather"


class NothingAllowed:
    """A grammar that allows no token."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def allows(self, token: int) -> bool:
        return False

    def mask(self, logits: Logits) -> Logits:
        return np.full_like(logits, -np.inf)

    def accept(self, token: int) -> None:
        self.taken.append(token)

    def forced(self) -> list[int]:
        return [7]


def test_a_grammar_behind_a_mark_leaves_the_text_before_it_free() -> None:
    inner = NothingAllowed()
    grammar = Triggered(inner, "<c>", lambda token: bytes([token]))
    logits = np.zeros(4, dtype=np.float32)
    for byte in b"text <c":
        assert grammar.allows(byte)
        grammar.accept(byte)
    assert np.isfinite(grammar.mask(logits)).all()
    assert list(grammar.forced()) == []
    grammar.accept(ord(">"))
    assert list(grammar.forced()) == [7]
    assert not grammar.allows(ord("x"))
    assert np.isinf(grammar.mask(logits)).all()
    grammar.accept(5)
    assert inner.taken == [5]


def test_no_token_goes_on_behind_the_mark_that_a_grammar_waits_for() -> None:
    pieces = [b"<", b"c>", b"c> x", b"ab"]
    grammar = Triggered(NothingAllowed(), "<c>", pieces.__getitem__)
    assert all(map(grammar.allows, range(4)))
    grammar.accept(0)
    assert [grammar.allows(token) for token in range(4)] == [True, True, False, True]
    assert list(np.isinf(grammar.mask(np.zeros(4, dtype=np.float32)))) == [
        False,
        False,
        True,
        False,
    ]


@pytest.fixture(scope="module")
def special(folder: Path) -> Iterator[Vocab]:
    """A vocabulary in which the marks of two families are single tokens."""
    plain = tiny_gguf.bpe_vocabulary()
    marks = dict(enumerate((b"<tool_call>", b"</tool_call>", b"[TOOL_CALLS]"), 310))
    made = replace(
        plain,
        tokens=tuple(marks.get(token, text) for token, text in enumerate(plain.tokens)),
        types=tuple(3 if token in marks else kind for token, kind in enumerate(plain.types)),
    )
    with Model(tiny_gguf.write(folder / "special.gguf", tiny_gguf.llama_bytes(made))) as model:
        yield model.vocab


@pytest.mark.parametrize(
    ("form", "written", "allowed"),
    [
        (HERMES, f"\n{TIME}\n</tool_call>", True),
        (HERMES, f"\n{TIME}</tool_call>", False),
        (MISTRAL, f"[{TIME}, {TIME}]", True),
        (MISTRAL_ARGS, "time[ARGS]{}", True),
        (MISTRAL_ARGS, 'weather[ARGS]{"city": "Oslo"', False),
        (LLAMA3, '{"name": "time", "parameters": {}}', True),
        (LLAMA3, "It is\nlate {now}.", True),
        (LLAMA3, " {now}", False),
        (GENERIC, "", True),
    ],
    ids=str,
)
def test_calls_that_are_not_forced_follow_their_grammar_once_they_begin(
    served: Running, form: ToolFormat, written: str, allowed: bool
) -> None:
    vocab = served.context.served.model.vocab
    rules = call_rules(vocab, [WEATHER, TIME_TOOL], form, several=True, forced=False)
    guide = Guide(vocab, lark_rules(rules))
    for token in [*vocab.tokenize(written, add_special=False), vocab.turn_end]:
        if not guide.allows(token):
            assert not allowed
            return
        guide.accept(token)
    assert allowed


@pytest.mark.parametrize("marked", [False, True], ids=["letters", "tokens"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("form", [HERMES, MISTRAL, MISTRAL_ARGS, LLAMA3, GENERIC], ids=str)
def test_whatever_the_grammar_of_calls_allows_is_read_as_valid_calls(
    served: Running, special: Vocab, form: ToolFormat, several: bool, marked: bool
) -> None:
    vocab = special if marked else served.context.served.model.vocab
    rules = call_rules(vocab, [WEATHER, TIME_TOOL], form, several=several, forced=True)
    most = 0
    for seed in range(6):
        guide, rng = Guide(vocab, lark_rules(rules)), np.random.default_rng(seed)
        tokens: list[int] = []
        forced = 0
        for _token in range(600):
            forced += bool(guide.forced())
            token = int(guide.mask(rng.normal(size=vocab.size).astype(np.float32)).argmax())
            if vocab.is_end(token):
                break
            guide.accept(token)
            tokens.append(token)
        assert forced > 0.8 * len(tokens)
        deltas, reader = read(form, "".join(map(vocab.name, tokens)), 7)
        assert "".join(delta.text for delta in deltas) == ""
        most = max(most, len(reader.calls))
        assert reader.calls
        for call in reader.calls:
            told = json.loads(call.arguments)
            assert (call.name, told) == ("time", {}) or told["city"] in ("Paris", "Rome")
    assert several == (most > 1)


def test_parameters_that_no_grammar_can_follow_are_refused_by_name(hermes: Running) -> None:
    for parameters, said in (
        (
            {"type": "object", "properties": {"a": {"not": {}}}},
            "f: the JSON schema uses not, which cannot be followed",
        ),
        ({"type": "string"}, "the parameters of f are not of type object"),
    ):
        tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
        body = {"messages": [{"role": "user", "content": "x"}], "tools": tools}
        refused = hermes.post("/v1/chat/completions", {**body, "tool_choice": "required"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "tools"
        assert said in refused.json()["error"]["message"]


def test_strict_tools_are_constrained_from_the_mark_on(hermes: Running) -> None:
    messages = [{"role": "user", "content": "x"}]
    body = Chat.model_validate({"messages": messages, "tools": [WEATHER]})
    use = tool_use(hermes.context.served.model, body)
    assert use.trigger == "<tool_call>"
    assert use.grammar is not None
    free = tool_use(hermes.context.served.model, body.model_copy(update={"tool_choice": "none"}))
    assert (free.grammar, free.described) == (None, ())


def test_the_tools_and_earlier_calls_reach_the_template(hermes: Running, served: Running) -> None:
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]  # fmt: skip
    body = {"messages": messages, "tools": [WEATHER]}
    native = hermes.post("/apply-template", body).json()["prompt"]
    assert '"description": "The weather of a place."' in native
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>' in native
    described = served.post("/apply-template", body).json()["prompt"]
    assert described.startswith("<|im_start|>system\nYou can call functions.")
    assert '{"name": "weather", "arguments": {"city": "Rome"}}' in described
    assert "Result of 1: sunny" in described


def test_a_streamed_call_comes_in_deltas(hermes: Running) -> None:
    import openai

    with openai.OpenAI(base_url=hermes.url + "/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "weather?"}], stream=True,
            tools=[WEATHER], tool_choice="required", max_tokens=300, parallel_tool_calls=False,
        )  # type: ignore[call-overload]  # fmt: skip
        name, arguments, finish = "", "", None
        for chunk in stream:
            choice = chunk.choices[0]
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                name += (call.function and call.function.name) or ""
                arguments += (call.function and call.function.arguments) or ""
    assert finish == "tool_calls"
    assert name == "weather"
    assert set(json.loads(arguments)) == {"city", "unit"}
