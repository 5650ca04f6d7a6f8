"""Prompts that ship, and files of prompts in every form that people have."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.bench.prompts import in_categories, read_prompts, shipped_prompts
from specli.errors import UsageError

CATEGORIES = [
    "question",
    "story",
    "code",
    "summary",
    "copy-edit",
    "retrieval",
    "json",
    "translation",
    "multi-turn",
    "maths",
]


def test_ten_kinds_of_prompts_ship_with_two_or_more_of_each() -> None:
    prompts = shipped_prompts()
    counts = Counter(prompt.category for prompt in prompts)
    assert list(counts) == CATEGORIES
    assert min(counts.values()) >= 2
    assert len({prompt.id for prompt in prompts}) == len({prompt.text for prompt in prompts})
    assert all(prompt.further for prompt in prompts if prompt.category == "multi-turn")


@pytest.mark.parametrize("category", ["summary", "copy-edit", "retrieval"])
def test_prompts_that_hold_a_text_are_long(category: str) -> None:
    lengths = [len(p.text.split()) for p in in_categories(shipped_prompts(), [category])]
    assert min(lengths) > 150


def read(folder: Path, text: str, name: str = "prompts.jsonl") -> list[tuple[str, str, str, int]]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [(p.id, p.category, p.text, len(p.further)) for p in read_prompts(path)]


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffWhy?\r\n\n  How? \n", "prompts.txt") == [
        ("line-1", "own", "Why?", 0),
        ("line-3", "own", "How?", 0),
    ]


def test_spec_bench_and_mt_bench_files_are_read_as_they_are(tmp_path: Path) -> None:
    line = {"question_id": 81, "category": "writing", "turns": ["Compose.", "Rewrite."]}
    extra = {**line, "question_id": 82, "reference": ["x", "y"], "turns": ["One."]}
    assert read(tmp_path, f"{json.dumps(line)}\n{json.dumps(extra)}\n") == [
        ("81", "writing", "Compose.", 1),
        ("82", "writing", "One.", 0),
    ]


def test_json_lines_hold_a_prompt_or_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    lines = [{"prompt": "a\u2028b", "id": "x"}, {"messages": messages, "category": "chat"}]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert read(tmp_path, text) == [("x", "own", "a\u2028b", 0), ("line-2", "chat", "Hi", 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no prompts"),
        ("\n \n", "has no prompts"),
        ("{", ":1 is not JSON"),
        ('{"prompt": "a"}\n[1]', ":2 is not a JSON object"),
        ("{}", "needs one of prompt, messages and turns, has none"),
        ('{"prompt": "a", "turns": ["b"]}', "has prompt and turns"),
        ('{"prompt": 3}', "prompt must be non-empty text"),
        ('{"prompt": " "}', "prompt must be non-empty text"),
        ('{"turns": []}', "turns must be non-empty text"),
        ('{"turns": "abc"}', "turns must be non-empty text"),
        ('{"turns": ["a", null]}', "turns must be non-empty text"),
        ('{"messages": []}', "must be a non-empty list"),
        ('{"messages": ["a"]}', "a message needs a role"),
        ('{"messages": [{"role": "tool", "content": "a"}]}', "a message needs a role"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "must be the user's"),
        ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": "1"}', "2 prompts with the id '1'"),
        ("[" * 100000, "not JSON"),
    ],
)
def test_what_is_no_prompt_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert said in raised.value.message
    assert "prompts.jsonl" in raised.value.message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_prompts(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"not UTF-8 text \(byte 3\)"):
        read_prompts(tmp_path / "latin.txt")


def test_a_category_that_no_prompt_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as raised:
        in_categories(shipped_prompts(), ["story", "poem"])
    assert "'poem'" in raised.value.message
    assert "story" in (raised.value.hint or "")


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_text_comes_back_from_json_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": text}) for text in texts), encoding="utf-8")
    assert [prompt.text for prompt in read_prompts(path)] == texts


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "mine.json"])
def test_a_document_is_not_read_as_one_prompt_a_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("code:\n- Write a loop\n")
    with pytest.raises(UsageError, match="one prompt a line") as caught:
        read_prompts(path)
    assert ".jsonl" in (caught.value.hint or "")
