"""What `specli run` prints: to whom, in which form, and what the figures have in common."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from specli.app import compare
from specli.app.follow import View, follow
from specli.app.prepare import machine_notes
from specli.engine import engine, verification
from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import Event
from specli.generation import Generation
from specli.llama.decoder import Decoder
from specli.option_table import OPTIONS
from specli.option_values import parsed
from specli.options import Options
from specli.session import Session
from tests.cli.conftest import Specli

TARGET = ["-m", "target.gguf", "--ignore-eos", "-n", "40"]
PAIR = [*TARGET, "-md", "draft.gguf", "--draft", "4"]
LONG = ["-m", "long.gguf", "--draft", "0", "--ignore-eos", "-c", "0", "-n", "-1"]
SAMPLED = ["--temp", "0.7", "--seed", "3"]
SETTINGS = {
    "greedy": PAIR,
    "sampled": [*PAIR, *SAMPLED],
    "ngram": [*PAIR, "--ngram-size", "2"],
}


def as_json(specli: Specli, *arguments: str) -> dict[str, Any]:
    outcome = specli("run", "--json", *arguments, "hello")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("name", SETTINGS)
def test_the_figures_of_json_agree_with_each_other(specli: Specli, name: str) -> None:
    told = as_json(specli, *SETTINGS[name])
    timings, speculation = told["timings"], told["speculation"]
    assert told["finish_reason"] == "length"
    assert told["completion_tokens"] == timings["predicted_n"] == 40
    assert told["prompt_tokens"] == timings["prompt_n"]
    by_drafter = speculation["by_drafter"].values()
    assert timings["draft_n"] == sum(drafter["drafted"] for drafter in by_drafter)
    assert timings["draft_n_accepted"] == sum(drafter["accepted"] for drafter in by_drafter)
    assert 0 < timings["draft_n_accepted"] <= timings["draft_n"]
    # Every round adds a token of the target, but the last one where the limit came first.
    added = timings["predicted_n"] - timings["draft_n_accepted"]
    assert added in (speculation["rounds"], speculation["rounds"] - 1)
    rate = timings["draft_n_accepted"] / timings["draft_n"]
    assert speculation["acceptance_rate"] == pytest.approx(rate, abs=1e-4)
    mean = timings["predicted_n"] / speculation["rounds"]
    assert speculation["mean_accepted_length"] == pytest.approx(mean, abs=1e-4)
    rates = speculation["acceptance_per_position"]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("name", SETTINGS)
def test_json_and_plain_text_say_the_same_and_drafting_changes_nothing(
    specli: Specli, name: str
) -> None:
    text = as_json(specli, *SETTINGS[name])["text"]
    piped = specli("run", *SETTINGS[name], "hello")
    more = SAMPLED if name == "sampled" else []
    plain = specli("run", *TARGET, "--draft", "0", *more, "hello")
    assert "drafted" in piped.err
    assert "drafted" not in plain.err
    assert piped.out == plain.out
    assert piped.out.removesuffix("\n") == text.removesuffix("\n")


def test_a_pipe_gets_the_text_and_stderr_one_line_of_figures(specli: Specli) -> None:
    outcome = specli("run", *PAIR, "hello")
    assert outcome.code == 0
    assert outcome.out.endswith("\n")
    assert "\x1b" not in outcome.out + outcome.err
    (line,) = outcome.err.splitlines()
    for words in ("40 tokens", "tok/s", "accepted", "drafted", "per round", "prompt"):
        assert words in line


def test_quiet_leaves_only_the_text(specli: Specli) -> None:
    quiet = specli("run", "--quiet", *PAIR, "hello")
    assert quiet.err == ""
    assert quiet.out == specli("run", *PAIR, "hello").out


def test_draft_auto_overrides_the_length_of_a_profile(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndescription: One\ntarget: target.gguf\ndraft: draft.gguf\n"
        "defaults: {draft_max: 4, draft_p_min: 0.5, gpu_layers: 0}\n"
    )
    profile = ["--profile", str(path), "-n", "4"]
    assert as_json(specli, *profile)["settings"]["draft"] == 4
    told = as_json(specli, *profile, "--draft", "auto", "-ngl", "auto")
    assert told["settings"]["draft"] == "auto"
    assert told["settings"]["draft_p_min"] is None


def test_every_name_of_a_flag_gives_the_same_text_and_counts(specli: Specli) -> None:
    def counts(line: str) -> tuple[str, int, int]:
        told = as_json(specli, "-m", "target.gguf", "--ignore-eos", "-n", "40", *line.split())
        timings = told["timings"]
        return told["text"], timings["draft_n"], timings["draft_n_accepted"]

    expected = counts("-md draft.gguf --draft 3 --ngram-size 2")
    for line in (
        "--draft-model draft.gguf --draft-token-count 3 --ngram-speculation-length 2",
        "--speculative-model draft.gguf --num-speculative-tokens 3 --ngram-size 2",
        "--model-draft draft.gguf --spec-draft-n-max 3 --ngram-size 2",
    ):
        assert counts(line) == expected, line


@pytest.mark.parametrize("name", SETTINGS)
def test_check_finds_the_text_identical(specli: Specli, name: str) -> None:
    told = as_json(specli, *SETTINGS[name], "--check")
    assert told["check"]["identical"] is True
    assert told["check"]["tokens"] == 40


def test_check_says_so_in_words_too(specli: Specli) -> None:
    outcome = specli("run", *PAIR, "--check", "hello")
    assert outcome.code == 0
    assert outcome.err.splitlines()[-1] == "check: identical to plain decoding, 40 tokens"


def other_text_from(place: int) -> Callable[..., tuple[Generation, bool]]:
    """Plain decoding that has chosen another token at `place`."""

    def changed(
        session: Session, request: GenerationRequest, view: View
    ) -> tuple[Generation, bool]:
        plain, interrupted = follow(session, request, view)
        tokens = list(plain.tokens)
        tokens[place] = (tokens[place] + 1) % 300
        return replace(plain, tokens=tokens), interrupted

    return changed


def test_check_passes_where_the_same_batches_give_the_same_text(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "follow", other_text_from(0))
    told = as_json(specli, *PAIR, "--check")
    assert told["check"]["identical"] is False
    assert told["check"]["verdict"] == "kernels"
    assert told["check"]["position"] == 0
    assert told["check"]["speculative"] != told["check"]["plain"]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token of every round with a proposal is another one than the target's."""
    choose = verification.judge

    def wrong(
        check: verification.Verification, target: Decoder, vocab: verification.Pieces
    ) -> None:
        choose(check, target, vocab)
        if check.proposal.tokens and check.emitted:
            check.emitted[-1] = (check.emitted[-1] + 1) % 300

    monkeypatch.setattr(engine, "judge", wrong)


@pytest.mark.usefixtures("faulty")
def test_check_fails_where_the_same_batches_give_another_text(specli: Specli) -> None:
    outcome = specli("run", *PAIR, "--check", "hello")
    assert outcome.code == 4
    assert "a fault: the same batches computed again give another text" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("hint: ")


@pytest.mark.usefixtures("faulty")
def test_check_fails_with_the_report_in_json(specli: Specli) -> None:
    outcome = specli("run", *PAIR, "--check", "--json", "hello")
    assert outcome.code == 4
    check = json.loads(outcome.out)["check"]
    assert check["verdict"] == "fault"
    assert check["wrong_at"] >= 0


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "specli", "run", *arguments, "hello"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job hands down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.usefixtures("sealed")
def test_ctrl_c_keeps_the_text_so_far_and_sums_up() -> None:
    with started(*LONG) as process:
        assert process.stdout is not None
        begun = os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert begun
    # A note may say that other programs use the cores.
    (line,) = (one for one in err.decode().splitlines() if not one.startswith("note: "))
    words = line.split()
    assert words[1] in ("token", "tokens")
    assert 0 < int(words[0]) < 32000
    assert (begun + rest).endswith(b"\n")


def test_ctrl_c_gives_json_its_object_too(specli: Specli, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count()
    step = Engine.step

    def interrupted(engine: Engine) -> list[Event]:
        if next(steps) == 5:
            raise KeyboardInterrupt
        return step(engine)

    monkeypatch.setattr(Engine, "step", interrupted)
    outcome = specli("run", "--json", *LONG, "hello")
    told = json.loads(outcome.out)
    assert outcome.code == 130
    assert told["finish_reason"] == "cancelled"
    # The first step decodes the prompt.
    assert told["completion_tokens"] == 4
    assert told["text"]


@pytest.mark.usefixtures("sealed")
def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with started(*LONG) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        os.read(process.stdout.fileno(), 100)
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    # A note may say that other programs use the cores.
    assert [one for one in err.splitlines() if not one.startswith(b"note: ")] == []
    assert process.returncode == 1


def test_verbose_shows_llama_cpps_log(specli: Specli) -> None:
    assert "llama" in specli("run", "-v", "--json", *PAIR, "hello").err


@pytest.mark.parametrize(
    ("arguments", "gpu", "notes"),
    [
        (["-t", "400"], False, ["--threads 400 is more than the number of cores here (2)"]),
        (["-t", "2", "-td", "3"], False, ["--threads-draft 3 is more than the number of cores"]),
        (["-ngl", "99"], False, ["--gpu-layers without effect: llama.cpp finds no GPU here"]),
        (["-ngl", "all", "-ngld", "9"], False, ["--gpu-layers and --gpu-layers-draft without"]),
        (["-ngl", "99"], True, []),
        (["-t", "2", "-ngl", "0", "-ngld", "auto"], False, []),
    ],
)
def test_what_the_machine_does_not_have_is_said_once(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], gpu: bool, notes: list[str]
) -> None:
    monkeypatch.setattr("specli.app.prepare.allowed_cores", lambda: [0, 1])
    monkeypatch.setattr("specli.app.prepare.library.supports_gpu", lambda: gpu)
    names = {"-t": "threads", "-td": "threads_draft", "-ngl": "gpu_layers"}
    names["-ngld"] = "gpu_layers_draft"
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    given = {names[flag]: parsed(OPTIONS[names[flag]], value) for flag, value in pairs}
    said = [*machine_notes(Options(**given))]
    assert len(said) == len(notes)
    assert all(map(str.startswith, said, notes))


@pytest.mark.parametrize("flags", [[], ["--no-draft"], ["--spec-type", "suffix"], ["--draft", "0"]])
def test_a_target_alone_is_said_to_have_no_draft_model(specli: Specli, flags: list[str]) -> None:
    told = specli("run", "-m", "target.gguf", "-n", "1", "hi", *flags).err
    note = "note: no draft model: drafting from the text itself (specli pair find target.gguf)\n"
    assert (note in told) == (not flags)


def test_notes_on_the_machine_reach_the_user(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.app.prepare.machine_notes", lambda _options: iter(["no cores"]))
    done = specli("run", "-m", "target.gguf", "--no-draft", "-n", "1", "hi")
    assert "note: no cores\n" in done.err
