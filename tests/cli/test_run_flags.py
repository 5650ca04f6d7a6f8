"""What the flags of `specli run` become, under every name they go by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from specli.cli import generate
from specli.cli.failures import guarded
from specli.cli.generate import Task
from specli.cli.main import app
from specli.cli.options import RunOptions

Run = Callable[..., tuple[RunOptions, Task]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`specli run` up to the point where it would generate; (options, task) of that call."""
    calls: list[tuple[RunOptions, Task]] = []

    def record(options: RunOptions, task: Task) -> int:
        calls.append((options, task))
        return 0

    monkeypatch.setattr(generate, "generate", record)

    def run(*arguments: str, stdin: str | None = None) -> tuple[RunOptions, Task]:
        done = CliRunner().invoke(
            app, ["run", *arguments], input=stdin, catch_exceptions=False, standalone_mode=False
        )
        assert done.exit_code == 0, done.output
        return calls.pop()

    return run


def test_flags_of_several_letters_after_one_dash_are_read_as_llama_cpp_reads_them(
    run: Run,
) -> None:
    line = "-m t.gguf -md d.gguf -ngl 99 -ngld 7 -n 5 -c 2048 -t 2 -td 3 -ctk q8_0 -ctvd f32 -fa on"
    options, task = run(*line.split(), "hello")
    assert task.prompt == "hello"
    assert options == RunOptions(
        model="t.gguf",
        model_draft="d.gguf",
        gpu_layers=99,
        gpu_layers_draft=7,
        predict=5,
        ctx_size=2048,
        threads=2,
        threads_draft=3,
        cache_type_k="q8_0",
        cache_type_v_draft="f32",
        flash_attn="on",
    )


@pytest.mark.parametrize(
    ("names", "value", "field", "meaning"),
    [
        (
            "-md --model-draft --spec-draft-model --draft-model --speculative-model",
            "d.gguf",
            "model_draft",
            "d.gguf",
        ),
        (
            "--draft --draft-max --draft-n --spec-draft-n-max --draft-token-count "
            "--num-speculative-tokens",
            "6",
            "draft_max",
            6,
        ),
        ("--draft-min --spec-draft-n-min", "2", "draft_min", 2),
        ("--draft-p-min --spec-draft-p-min", "0.5", "draft_p_min", 0.5),
        ("--ngram-size --ngram-speculation-length", "9", "ngram_size", 9),
        ("-n --predict --n-predict", "-1", "predict", -1),
        ("-ngl --gpu-layers --n-gpu-layers", "all", "gpu_layers", -1),
        ("--logit-bias -l", "15043-inf", "logit_bias", {15043: float("-inf")}),
        ("--temp", "0.8", "temp", 0.8),
        ("--seed", "3", "seed", 3),
    ],
)
def test_every_name_of_a_flag_sets_the_same_option(
    run: Run, names: str, value: str, field: str, meaning: Any
) -> None:
    for name in names.split():
        options, _ = run(name, value, "hello")
        assert options.given() == {field: meaning}, name


def test_what_is_not_given_stays_open_for_the_profile(run: Run) -> None:
    options, task = run("hello")
    assert options == RunOptions()
    assert task == Task(prompt="hello")


def test_draft_auto_leaves_the_length_to_specli(run: Run) -> None:
    options, _ = run("--draft", "auto", "hello")
    assert options.draft_max is None


def test_stop_may_be_given_several_times(run: Run) -> None:
    _, task = run("--stop", "a", "-r", "b", "hello")
    assert task.stops == ("a", "b")


def test_the_prompt_comes_from_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("über\nmany lines\n", encoding="utf-8")
    _, task = run("-f", str(path))
    assert task.prompt == "über\nmany lines\n"


@pytest.mark.parametrize("arguments", [["-"], []])
def test_the_prompt_comes_from_a_pipe_without_its_last_line_end(
    run: Run, arguments: list[str]
) -> None:
    _, task = run(*arguments, stdin="piped\n")
    assert task.prompt == "piped"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--draft", "models/d.gguf"], ["--draft", "'models/d.gguf'", "-md models/d.gguf"]),
        (["--draft", "hf:a/b:Q4_0"], ["'hf:a/b:Q4_0'", "-md"]),
        (["--draft", "many"], ["--draft", "'many'", "auto"]),
        (["-fa", "maybe"], ["--flash-attn", "'maybe'", "on, off, auto"]),
        (["-ctk", "q9"], ["--cache-type-k", "'q9'", "q8_0"]),
        (["-ngl", "most"], ["--gpu-layers", "'most'", "all"]),
        (["--logit-bias", "x+1"], ["--logit-bias", "'x+1'", "15043-inf"]),
        (["--grammar", "root ::= x", "--json-schema", "{}"], ["--grammar", "--json-schema"]),
        (["-f", "no-such-file"], ["no-such-file"]),
    ],
)
def test_a_wrong_value_is_told_with_its_flag_and_what_is_allowed(
    arguments: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = [] if "-f" in arguments else ["hello"]
    code = guarded(lambda: app(["run", *arguments, *prompt], prog_name="specli"))
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for words in told:
        assert words in captured.err


@pytest.mark.parametrize("arguments", [["run", "--no-such-flag", "x"], ["run", "-t", "no", "x"]])
def test_what_typer_refuses_is_a_wrong_usage_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: app(arguments, prog_name="specli")) == 2
    assert "Traceback" not in capsys.readouterr().err
