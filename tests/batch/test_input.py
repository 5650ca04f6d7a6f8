"""Every form of input, and what is wrong with a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.batch.input import LONGEST_CELL, Entry, Reading, Source, opened
from specli.batch.prompt import Bad, Prompt
from specli.batch.template import Template
from specli.errors import UsageError


def read(path: Path, notes: list[str] | None = None, **reading: Any) -> list[Entry]:
    file = opened(path)
    told = [] if notes is None else notes
    try:
        return list(Source(path, file, Reading(**reading), notice=told.append).entries())
    finally:
        if file is not None:
            file.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


def only(path: Path, content: str | Mapping[str, object], **reading: Any) -> Entry:
    path.write_text(content if isinstance(content, str) else json.dumps(content) + "\n")
    (entry,) = read(path, **reading)
    return entry


def test_a_line_may_set_everything_for_itself(file: Path) -> None:
    line = {
        "id": 7,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
        ],
        "system": "s",
        "max_tokens": 5,
        "temperature": 1,
        "seed": 3,
        "stop": ["x", "y"],
        "json_schema": {"type": "object"},
        "prediction": "p",
        "speculative": {"drafters": ["suffix"], "n_max": 4},
    }
    assert only(file, line) == Prompt(
        id="7",
        location=f"{file}:1",
        messages=(("user", "a"), ("assistant", "b"), ("user", "c")),
        system="s",
        max_tokens=5,
        temperature=1,
        seed=3,
        stop=("x", "y"),
        json_schema='{"type": "object"}',
        prediction="p",
        speculative={"enabled": True, "drafters": ["suffix"], "n_max": 4},
    )


def test_a_request_of_openai_is_taken_for_what_it_asks(file: Path) -> None:
    line = {
        "custom_id": "r-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4o-mini",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
            "max_tokens": 9,
            "max_completion_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": "x",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": {"type": "array"}},
            },
            "prediction": {"type": "content", "content": "p"},
        },
    }
    assert only(file, line) == Prompt(
        id="r-1",
        location=f"{file}:1",
        messages=(("system", "s"), ("user", "a")),
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        stop=("x",),
        json_schema='{"type": "array"}',
        prediction="p",
    )


def test_a_completion_of_openai_has_no_chat_template(file: Path) -> None:
    line = {"custom_id": "r", "url": "/v1/completions", "body": {"prompt": "Once"}}
    entry = only(file, line)
    assert isinstance(entry, Prompt)
    assert entry.raw
    assert entry.messages == (("user", "Once"),)


CHAT = {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions"}
SAID = [{"role": "user", "content": "a"}]
BAD: dict[str, tuple[object, str]] = {
    "no JSON": ('{"prompt": ', "not JSON"),
    "deep": ("[" * 100_000, "not JSON"),
    "list": ([1], "not a JSON object"),
    "nothing asked": ({"id": "a"}, "needs one of prompt and messages, has neither"),
    "both": ({"prompt": "a", "messages": SAID}, "has both"),
    "empty": ({"prompt": ""}, "prompt: string should have at least 1 character"),
    "number": ({"prompt": 5}, "prompt: input should be a valid string"),
    "no messages": ({"messages": []}, "messages: list should have at least 1 item"),
    "message": ({"messages": [{"role": "user"}]}, "messages.0.content is missing"),
    "tool": ({"messages": [{**SAID[0], "tool_calls": []}]}, "messages.0.tool_calls is not support"),
    "tokens": ({"prompt": "a", "max_tokens": "5"}, "max_tokens: input should be a valid integer"),
    "none": ({"prompt": "a", "max_tokens": 0}, "max_tokens: input should be greater than"),
    "cold": ({"prompt": "a", "temperature": -1}, "temperature: input should be greater than"),
    "infinite": ('{"prompt": "a", "temperature": Infinity}', "temperature: input should be a fin"),
    "surrogate": ('{"prompt": "\\ud800"}', "prompt: "),
    "two systems": (
        {"messages": [{"role": "system", "content": "a"}], "system": "b"},
        "two system messages",
    ),
    "url": ({**CHAT, "url": "/v1/embeddings", "body": {"messages": SAID}}, "url: "),
    "tools": ({**CHAT, "body": {"messages": SAID, "tools": []}}, "body.tools is not supported"),
    "choices": ({**CHAT, "body": {"messages": SAID, "n": 2}}, "body.n: "),
    "chat without": ({**CHAT, "body": {"prompt": "a"}}, "body.messages is missing"),
    "schema": (
        {**CHAT, "body": {"messages": SAID, "response_format": {"type": "json_schema"}}},
        "body.response_format.json_schema is missing",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_told_with_its_place_and_the_rest_goes_on(file: Path, name: str) -> None:
    line, told = BAD[name]
    text = line if isinstance(line, str) else json.dumps(line)
    file.write_text(f'{{"prompt": "before"}}\n{text}\n{{"prompt": "behind"}}\n')
    before, bad, behind = read(file)
    assert isinstance(before, Prompt)
    assert isinstance(behind, Prompt)
    assert isinstance(bad, Bad)
    assert bad.location == f"{file}:2"
    assert told in bad.reason
    assert "\n" not in bad.reason


@settings(deadline=None)
@given(data=st.binary(max_size=200), suffix=st.sampled_from(["jsonl", "txt", "csv", "dat"]))
def test_any_bytes_are_prompts_or_bad_lines(
    data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / f"prompts.{suffix}"
    path.write_bytes(b"prompt\n" * (suffix == "csv") + data)
    for entry in read(path):
        assert entry.location.startswith(f"{path}:")
        assert isinstance(entry, Bad) or all(text for _role, text in entry.messages)


def test_ids_are_line_numbers_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"one\r\n\n  \n{not json}\nlast")
    entries = read(path)
    assert [(e.id, e.messages[0][1]) for e in entries if isinstance(e, Prompt)] == [
        ("1", "one"),
        ("4", "{not json}"),
        ("5", "last"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('\n{"prompt": "a"}\nplain\n', ["a", "Bad"]),
        ('plain\n{"prompt": "a"}\n', ["plain", '{"prompt": "a"}']),
        ("[1]\n", ["[1]"]),
        ("", []),
    ],
)
def test_the_first_line_tells_json_lines_from_text(
    tmp_path: Path, content: str, expected: list[str]
) -> None:
    path = tmp_path / "prompts"
    path.write_text(content)
    found = [e.messages[0][1] if isinstance(e, Prompt) else "Bad" for e in read(path)]
    assert found == expected


CSV = 'id,question,system\na,"one, two",s\n,"line\nbreak",\nx,y\nb,"sto"p,\nc,last,\n'


def test_csv_has_ids_and_system_messages_in_columns(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(CSV)
    first, second, short, quotes, last = read(path, column="question")
    assert isinstance(first, Prompt)
    assert isinstance(second, Prompt)
    assert isinstance(short, Bad)
    assert isinstance(quotes, Bad)
    assert isinstance(last, Prompt)
    assert (first.id, first.messages, first.system) == ("a", (("user", "one, two"),), "s")
    assert (second.id, second.messages, second.system) == ("3", (("user", "line\nbreak"),), None)
    assert (short.location, short.reason) == (f"{path}:5", "2 columns, but the header has 3")
    assert quotes.location == f"{path}:6"
    assert last.id == "c"


def test_a_quote_that_is_never_closed_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    lines = "x" * 1_000_000 + "\n"
    path.write_text('prompt\n"open\n' + lines * (LONGEST_CELL // 1_000_000 + 1) + "last\n")
    entries = read(path)
    assert isinstance(entries[0], Bad)
    assert isinstance(entries[-1], Prompt)
    assert entries[-1].messages == (("user", "last"),)


@pytest.mark.parametrize(
    ("reading", "named"),
    [
        ({}, "'prompt'"),
        ({"column": "answer"}, "'answer'"),
        ({"template": Template("{answer}")}, "'answer'"),
    ],
)
def test_a_missing_column_stops_at_once(
    tmp_path: Path, reading: dict[str, Any], named: str
) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(CSV)
    with pytest.raises(UsageError, match=named) as error:
        read(path, **reading)
    assert "question" in str(error.value.hint)


@pytest.mark.parametrize(
    ("name", "content", "template", "expected"),
    [
        ("p.txt", "a\n", "<{text}>", "<a>"),
        ("p.csv", "q,seed\na,5\n", "{q} {seed}", "a 5"),
        ("p.jsonl", '{"title": "a", "year": 5}\n', "{title} {year}", "a 5"),
        ("p.jsonl", '{"prompt": "a"}\n', "<{text}>", "<a>"),
    ],
)
def test_a_template_makes_the_prompt(
    tmp_path: Path, name: str, content: str, template: str, expected: str
) -> None:
    entry = only(tmp_path / name, content, template=Template(template))
    assert isinstance(entry, Prompt)
    assert entry.messages == (("user", expected),)


def test_a_template_misses_a_field_of_one_line_only(file: Path) -> None:
    file.write_text('{"title": "a"}\n{"titel": "b"}\n')
    _first, second = read(file, template=Template("{title}"))
    assert isinstance(second, Bad)
    assert "'title'" in second.reason


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.md").write_text("two\n")
    (tmp_path / "a.txt").write_text("one\nline\n")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    (tmp_path / ".hidden").write_text("no")
    first, second, bad = read(tmp_path)
    assert isinstance(first, Prompt)
    assert isinstance(second, Prompt)
    assert (first.id, first.messages[0][1]) == ("a.txt", "one\nline")
    assert (second.id, second.messages[0][1]) == ("b/x.md", "two")
    assert bad == Bad(str(tmp_path / "c.bin"), "not UTF-8 text (byte 0)")


def test_an_unknown_field_is_reported_once(file: Path) -> None:
    notes: list[str] = []
    file.write_text('{"prompt": "a", "max_token": 5}\n{"prompt": "b", "max_token": 5}\n')
    read(file, notes)
    assert notes == [f"{file}:1: unknown field 'max_token' (ignored)"]


def test_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.jsonl"):
        opened(tmp_path / "no.jsonl")
