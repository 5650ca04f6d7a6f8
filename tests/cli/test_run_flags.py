"""What the flags of `specli run` become, under every name they go by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from specli.app import run as app_run
from specli.app.prepare import sampling_of
from specli.app.run import Answer
from specli.cli.failures import run_app
from specli.cli.main import app
from specli.generation import Generation
from specli.option_table import OPTIONS
from specli.options import Options
from specli.sampling.params import SamplingParams
from specli.session import Setup

Run = Callable[..., tuple[Options, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`specli run` up to the point where it would generate; (options, prompt) of that call."""
    calls: list[tuple[Options, str]] = []

    def record(options: Options, prompt: str, *_more: object) -> Answer:
        calls.append((options, prompt))
        return Answer(Generation(), Setup(Path("t.gguf")), SamplingParams())

    monkeypatch.setattr(app_run, "run", record)

    def run(*arguments: str, stdin: str | None = None) -> tuple[Options, str]:
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
    options, prompt = run(*line.split(), "hello")
    assert prompt == "hello"
    assert options == Options(
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
        ("-ngl --gpu-layers --n-gpu-layers", "all", "gpu_layers", "all"),
        ("--logit-bias -l", "15043-inf", "logit_bias", {15043: float("-inf")}),
        ("--temp", "0.8", "temp", 0.8),
        ("--seed", "3", "seed", 3),
        ("--prediction", "a.txt", "prediction", Path("a.txt")),
        ("--ngram", None, "ngram", True),
        ("--no-ngram", None, "ngram", False),
    ],
)
def test_every_name_of_a_flag_sets_the_same_option(
    run: Run, names: str, value: str | None, field: str, meaning: Any
) -> None:
    for name in names.split():
        options, _ = run(name, *([] if value is None else [value]), "hello")
        assert options.given() == {field: meaning}, name


def test_what_is_not_given_stays_open_for_the_profile(run: Run) -> None:
    assert run("hello") == (Options(), "hello")


@pytest.mark.parametrize("flags", ["--draft", "-ngl", "-ngld", "-t", "-td", "-c", "-fa"])
def test_auto_is_a_value_that_overrides_a_profile(run: Run, flags: str) -> None:
    options, _ = run(flags, "auto", "hello")
    ((name, value),) = options.given().items()
    assert value == "auto"
    assert options.over({name: 4}).given() == {name: "auto"}
    assert options.number(name) is None


def test_draft_auto_overrides_every_fixed_length_of_a_profile(run: Run) -> None:
    options, _ = run("--draft", "auto", "hello")
    profile = {"draft_max": 4, "draft_min": 1, "draft_p_min": 0.5, "ngram_size": 3, "temp": 0.5}
    assert options.over(profile) == Options(draft_max="auto", temp=0.5)


def test_a_grammar_overrides_the_schema_of_a_profile(run: Run) -> None:
    options, _ = run("--grammar", "root ::= x", "hello")
    assert options.over({"json_schema": "{}"}) == options


def test_what_a_profile_switches_on_can_be_switched_off(run: Run) -> None:
    options, _ = run("--no-ignore-eos", "--no-raw", "hello")
    assert not options.over({"ignore_eos": True, "raw": True}).ignore_eos


def test_stop_may_be_given_several_times(run: Run) -> None:
    options, _ = run("--stop", "a", "-r", "b", "hello")
    assert options.stop == ("a", "b")


def test_flags_of_drafters_that_are_gone_are_ignored_with_one_note(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    options, _ = run("--spec-ngram-mod-n-match", "3", "-lcs", "cache.bin", "hello")
    assert options == Options()


def test_the_defaults_that_the_help_states_are_those_of_sampling() -> None:
    others = ("seed", "predict", "samplers")
    stated = {
        name: float(option.default)
        for name, option in OPTIONS.items()
        if option.group == "Sampling" and option.default and name not in others
    }
    assert len(stated) == 23
    assert sampling_of(Options(seed=0)) == SamplingParams()
    assert sampling_of(Options(seed=0, **stated)) == SamplingParams()


def test_the_prompt_comes_from_a_file_without_its_last_line_end(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("über\nmany lines\n", encoding="utf-8")
    _, prompt = run("-f", str(path))
    assert prompt == "über\nmany lines"


@pytest.mark.parametrize("arguments", [["-"], []])
def test_the_prompt_comes_from_a_pipe_without_its_last_line_end(
    run: Run, arguments: list[str]
) -> None:
    _, prompt = run(*arguments, stdin="piped\n")
    assert prompt == "piped"


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
    code = run_app(app, ["run", *arguments, *prompt])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for words in told:
        assert words in captured.err


@pytest.mark.parametrize("arguments", [["run", "--no-such-flag", "x"], ["run", "x", "y"]])
def test_what_typer_refuses_is_a_wrong_usage_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, arguments) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert hint.endswith("specli run --help shows what it takes")
