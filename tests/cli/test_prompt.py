"""Where a prompt comes from: files, a pipe, an argument, a template."""

from __future__ import annotations

import io
import json
import os
import sys
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specli.cli.prompt import Parts, escaped, read_prompt
from specli.errors import UsageError
from tests.cli.conftest import Specli

Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """Puts bytes into a real pipe, which becomes stdin."""
    opened: list[io.TextIOWrapper] = []

    def pipe(content: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        opened.append(open(reading, encoding="utf-8"))  # noqa: SIM115, PTH123
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield pipe
    for one in opened:
        one.close()


def test_what_is_piped_in_comes_before_the_argument(pipe: Pipe) -> None:
    pipe(b"diff --git\n+line\n")
    assert read_prompt(Parts("Write a message")) == "diff --git\n+line\n\nWrite a message"


def test_files_come_first_in_their_order(pipe: Pipe, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A\n")
    (tmp_path / "b").write_bytes(b"B\r\n")
    pipe(b"piped\n")
    files = [tmp_path / "a", tmp_path / "b"]
    assert read_prompt(Parts("last", files)) == "A\n\nB\n\npiped\n\nlast"


@pytest.mark.parametrize("text", ["one line", "two\nlines", "ends empty\n", " spaces "])
def test_the_same_text_is_the_same_prompt_whichever_way_it_comes(
    text: str, pipe: Pipe, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text(text + "\n")
    assert read_prompt(Parts(None, [tmp_path / "text"])) == text
    pipe(f"{text}\n".encode())
    assert read_prompt(Parts()) == text
    pipe(f"{text}\n".encode())
    assert read_prompt(Parts("-")) == text
    pipe(b"")
    assert read_prompt(Parts(text)) == text


def test_a_device_without_text_is_left_alone_where_there_is_a_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert read_prompt(Parts("hello")) == "hello"
        with pytest.raises(UsageError, match="no prompt came from stdin"):
            read_prompt(Parts())


def test_waiting_for_a_pipe_is_said(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(b"late")
    monkeypatch.setattr("select.select", lambda *_args: ([], [], []))
    assert read_prompt(Parts()) == "late"
    assert capsys.readouterr().err.startswith("note: reading the prompt from stdin")


def test_a_template_takes_the_prompt_and_values(pipe: Pipe) -> None:
    pipe(b"Guten Tag\n")
    parts = Parts(template="To {lang}: {input} {{}}", values=["lang=English"])
    assert read_prompt(parts) == "To English: Guten Tag {}"


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (Parts("x", template="To {lang}: {input}"), "missing field 'lang'"),
        (Parts("", template="{input}"), "missing field 'input'"),
        (Parts("x", template="{lang}", values=["lang=a"]), "the template has no {input}"),
        (Parts("x", template="{input}", values=["a=b"]), "the template has no {a}"),
        (Parts("x", template="{input}", values=["a"]), "--value takes NAME=TEXT, not 'a'"),
        (Parts("x", values=["a=b"]), "--value is for a template"),
        (Parts("x", template="{input"), "invalid template"),
    ],
)
def test_a_template_and_its_values_must_fit(parts: Parts, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("{", r"\{")):
        read_prompt(parts)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (r"a\nb\tc\r", "a\nb\tc\r"),
        (r"\"\'\\", "\"'\\"),
        (r"\x41\x4", "A\x04"),
        (r"\q \x \\n", r"\q \x \n"),
        ("end\\", "end\\"),
    ],
)
def test_escapes_are_llama_cpps(text: str, meaning: str) -> None:
    assert escaped(text) == meaning


def test_prompt_tokens_are_shown_with_the_template_around_them(specli: Specli) -> None:
    line = ("run", "-m", "target.gguf", "-n", "1", "--no-draft", "--verbose-prompt", "hi")
    shown = specli(*line, "--chat-template", "<{{ messages[0].content }}>").err
    assert shown.startswith("note: the prompt has 4 tokens:\n")
    assert [one.split()[-1] for one in shown.splitlines()[1:5]] == ["'<'", "'h'", "'i'", "'>'"]


def test_variables_reach_the_template(specli: Specli) -> None:
    line = ["run", "-m", "target.gguf", "-n", "1", "--verbose-prompt", "x", "-rea", "off"]
    line.append("--no-draft")
    template = "{% if not enable_thinking %}{{ mood }}{% endif %}"
    values = ["--chat-template-kwargs", '{"mood": "%}\'x"}']
    shown = specli(*line, "--chat-template", template, *values).err
    assert [one.split()[-1] for one in shown.splitlines()[1:5]] == ["'%'", "'}'", '"\'"', "'x'"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("chatml", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        ("llama2", "[INST] hi [/INST]"),
    ],
)
def test_a_format_of_llama_cpp_is_named(specli: Specli, name: str, written: str) -> None:
    line = ("run", "-m", "target.gguf", "-n", "1", "--no-draft", "--verbose-prompt", "hi")
    shown = specli(*line, "--chat-template", name).err
    tokens = [one.split(maxsplit=1)[1] for one in shown.splitlines() if one.endswith("'")]
    assert "".join(map(literal_eval, tokens)) == written


@pytest.mark.parametrize("form", ["deepseek", "auto", "none"])
def test_reasoning_is_a_field_of_its_own_where_that_is_asked_for(specli: Specli, form: str) -> None:
    line = ("run", "-m", "target.gguf", "--no-draft", "hi", "--json", "--reasoning-format", form)
    found = json.loads(specli(*line, "--grammar", 'root ::= "<think>hm</think> yes"').out)
    if form == "none":
        assert found["text"] == "<think>hm</think> yes"
        assert "reasoning_content" not in found
    else:
        assert (found["text"], found["reasoning_content"]) == ("yes", "hm")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--chat-template", "lama3"], "did you mean llama3?"),
        (["--chat-template", "x"], "'x' is neither a Jinja template nor one of llama.cpp's"),
        (["--chat-template", "chatml", "-rea", "off"], "format chatml takes no variables"),
        (["--chat-template", "{}", "--chat-template-file", "target.gguf"], ""),
        (["--chat-template-kwargs", "[]"], "is no JSON object of variables"),
        (["--chat-template-kwargs", '{"a b": 1}'], "is no JSON object of variables"),
        (["--chat-template-kwargs", '{"a": NaN}'], "NaN is no number"),
    ],
)
def test_a_wrong_template_is_refused(specli: Specli, arguments: list[str], told: str) -> None:
    outcome = specli("run", "-m", "target.gguf", *arguments, "hello")
    assert outcome.code == 2
    assert told in outcome.err
