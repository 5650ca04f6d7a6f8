"""Commands of llama.cpp can be pasted: every flag of its table does what specli says of it."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
import typer
from llama_flags import entries, main, table
from typer.testing import CliRunner

from specli.app import run as app_run
from specli.app.run import Answer
from specli.cli.failures import run_app
from specli.cli.llama_flags import (
    IGNORED,
    REFUSED,
    REWRITTEN,
    Flag,
    by_spelling,
    flags,
    reasons,
)
from specli.cli.main import app
from specli.cli.run import OWN
from specli.generation import Generation
from specli.option_table import OPTIONS, Option
from specli.options import Options
from specli.sampling.params import SamplingParams
from specli.session import Setup

Run = Callable[..., tuple[Options, str]]

RUN = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
TAKEN = {
    spelling: OPTIONS.get(parameter.name)
    or next((one for one in OWN if one.name == parameter.name), None)
    for parameter in RUN.params
    for spelling in (*parameter.opts, *parameter.secondary_opts)
}
HELP = ("-h", "--version")
"""Flags that print and end."""
FLAGS = {flag.spellings[0]: flag for flag in flags()}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`specli run` up to the point where it would generate; (options, prompt) of that call."""
    calls: list[tuple[Options, str]] = []

    def record(options: Options, prompt: str, *_more: object) -> Answer:
        calls.append((options, prompt))
        return Answer(Generation(), Setup(Path("t.gguf")), SamplingParams())

    monkeypatch.setattr(app_run, "run", record)

    def run(*arguments: str) -> tuple[Options, str]:
        done = CliRunner().invoke(
            app, ["run", *arguments], input="", catch_exceptions=False, standalone_mode=False
        )
        assert done.exit_code == 0, done.output
        return calls.pop()

    return run


def sample(option: Option, folder: Path) -> str:
    """A value that an option takes."""
    if option.words and option.kind == "text":
        return option.words[-1]
    named = {"value": "a=b", "hf_repo": "a/b", "hf_file": "c.gguf", "biases": "1+1"}
    named["speculative_config"] = '{"method": "suffix"}'
    match option.kind:
        case "integer" | "number":
            least = 1 if option.least is None else max(option.least, 1)
            return str(int(min(least, option.most or least)))
        case "biases":
            return "1+1"
        case "file" | "texts":
            return str(folder / "file.txt")
    return named.get(option.name, "text")


def verdicts(flag: Flag) -> set[str]:
    tables: dict[str, Container[str]] = {"taken": TAKEN, "rewritten": REWRITTEN}
    tables |= {which: reasons(which) for which in ("ignored", "refused")}
    every = flag.spellings
    return {name for name, held in tables.items() if all(one in held for one in every)}


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_of_llama_cpp_is_taken_rewritten_ignored_or_refused(
    name: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.txt").write_text("text")
    flag = FLAGS[name]
    if name in HELP:
        return
    (verdict,) = verdicts(flag)
    for spelling in flag.spellings:
        values = ["1"] * flag.values
        option = TAKEN.get(spelling) or TAKEN.get(REWRITTEN.get(spelling, ("",))[0])
        if option is not None and flag.values:
            values = [sample(option, tmp_path)] * flag.values
        line = [spelling, *values]
        if verdict == "refused":
            assert run_app(app, ["run", *line, "hello"]) == 2
            error, hint = capsys.readouterr().err.splitlines()
            assert error == f"error: {spelling} is not supported"
            assert hint.removeprefix("hint: ") in REFUSED
        elif verdict == "ignored":
            assert run(*line, "hello") == (Options(), "hello")
        else:
            partner = ["-hf", "a/b"] if option is OPTIONS["hf_file"] else []
            prompt = [] if spelling in ("-p", "--prompt", "-f", "--file") else ["hello"]
            options, text = run(*line, *partner, *prompt)
            assert text in ("hello", "text", str(tmp_path / "file.txt"))
            assert options.given() or option in OWN, spelling


def test_no_flag_has_two_reasons_and_none_is_made_up() -> None:
    named = [
        name for every in (IGNORED, REFUSED) for names in every.values() for name in names.split()
    ]
    assert len({*named}) == len(named)
    assert {*named} <= {*by_spelling()}
    assert not {*named} & {*TAKEN, *REWRITTEN}


def test_a_flag_without_effect_is_left_out_with_its_value_and_one_note_per_reason(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--jinja", "-lcs", "cache.bin", "--spec-ngram-mod-n-min=2", "hello"]
    assert run_app(app, ["run", *line]) == 0
    notes = [one for one in capsys.readouterr().err.splitlines() if one.startswith("note: ")]
    assert notes == [
        "note: --jinja has no effect: chat templates are always rendered with Jinja",
        "note: -lcs, --spec-ngram-mod-n-min has no effect: "
        "it belongs to a drafter that suffix drafting replaces",
    ]
    assert run_app(app, ["run", "-q", *line]) == 0
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "hint"),
    [("-rex", "write -r ex"), ("-n64", "write -n 64"), ("-tq", "write -t q"), ("-qv", "")],
)
def test_a_short_flag_never_swallows_what_follows_it(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["run", word, "hello"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: no such option: {word}\n")
    assert hint in told


def test_a_word_after_a_flag_is_its_value_even_if_it_looks_like_another(run: Run) -> None:
    options, prompt = run("-r", "--jinja", "-sys", "-st", "--", "--host")
    assert options == Options(stop=("--jinja",), system="-st")
    assert prompt == "--host"


def test_underscores_are_hyphens_as_llama_cpp_has_it(run: Run) -> None:
    assert run("--ctx_size", "64", "--top_k=7", "hello")[0] == Options(ctx_size=64, top_k=7)


def test_a_command_without_a_flag_names_the_one_that_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_app(app, ["doctor", "--top-k", "3"]) == 2
    assert capsys.readouterr().err == (
        "error: specli doctor has no --top-k\nhint: specli run has it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "meaning"),
    [
        (["-hf", "a/b"], {"model": "hf:a/b"}),
        (["-hf", "a/b:Q4_0", "-hfd", "c/d"], {"model": "hf:a/b:Q4_0", "model_draft": "hf:c/d"}),
        (["-hf", "a/b:Q4_0", "-hff", "x.gguf"], {"model": "hf:a/b/x.gguf"}),
        (["--raw"], {"raw": True}),
        (["-no-cnv"], {"raw": True}),
        (
            ["--speculative-config", '{"model": "d.gguf", "num_speculative_tokens": 3}'],
            {"model_draft": "d.gguf", "draft_max": 3},
        ),
        (
            ["--speculative-config", '{"method": "suffix"}', "-md", "d.gguf"],
            {"spec_type": "suffix", "model_draft": "d.gguf"},
        ),
    ],
)
def test_flags_of_other_tools_become_options(
    run: Run, arguments: list[str], meaning: dict[str, Any]
) -> None:
    assert run(*arguments, "hello")[0].given() == meaning


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-hff", "x.gguf"], "--hf-file needs --hf-repo"),
        (["--speculative-config", "{"], "--speculative-config is not valid JSON"),
        (["--speculative-config", "[]"], "--speculative-config is no JSON object"),
        (["--speculative-config", '{"method": "tree"}'], "no method 'tree'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app, ["run", *arguments, "hello"]) == 2
    assert told in capsys.readouterr().err


SOURCE = """
    add_opt(common_arg(
        {"-a", "--all"},
        {"-na", "--no-all"},
        string_format("help (%d)", 1),
        [](common_params & params, bool value) { params.a = value; }
    ).set_env("LLAMA_ARG_ALL"));
    add_opt(common_arg(
        // a comment
        {"--count"}, "N",
        "help",
        [](common_params & params, int value) { params.n = value; }
    ));
    add_opt(common_arg({"--pair"}, "A", "B", "help",
        [](common_params & params, const std::string & a, const std::string & b) {}));
    add_opt(common_arg({"--go"}, "help", [](common_params &) {}));
"""


def test_the_script_reads_spellings_opposites_kinds_and_variables() -> None:
    assert [entry.line.split("\t") for entry in entries(SOURCE)] == [
        ["-a --all", "-na --no-all", "none", "LLAMA_ARG_ALL"],
        ["--count", "-", "integer", "-"],
        ["--pair", "-", "two", "-"],
        ["--go", "-", "none", "-"],
    ]


def test_the_script_fails_where_a_source_has_other_flags(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "arg.cpp").write_text(SOURCE)
    assert "--count" in table(tmp_path)
    with pytest.raises(SystemExit, match="out of date"):
        main([str(tmp_path), "--check"])
