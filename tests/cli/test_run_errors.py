"""What can go wrong with `specli run` is told in a sentence, with what to do next."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from specli.engine.sequence import GenerationRequest
from specli.errors import SpecliError
from specli.session import Session, Setup
from tests import tiny_gguf as tiny
from tests.cli.conftest import Specli

TARGET = "-m target.gguf"

ERRORS = {
    "missing file": ("-m ./no.gguf", 1, ["no file", "no.gguf"]),
    "missing draft": (f"{TARGET} -md ./no.gguf", 1, ["no file", "no.gguf"]),
    "directory": ("-m .", 1, ["folder"]),
    "not a GGUF": ("-m text.gguf", 1, ["text.gguf", "not a GGUF"]),
    "empty file": ("-m empty.gguf", 1, ["empty.gguf", "is empty"]),
    "truncated file": ("-m cut.gguf", 1, ["cut.gguf", "bytes"]),
    "broken draft": (f"{TARGET} -md cut.gguf", 1, ["cut.gguf", "bytes"]),
    "unsupported architecture": ("-m future.gguf", 1, ["future.gguf", "llama99"]),
    "draft of another vocabulary": (
        f"{TARGET} -md foreign.gguf --strict-vocab",
        3,
        ["foreign.gguf", "target.gguf", "token texts", "token 40", "'#'", "'foreign'"],
    ),
    "context too large": (f"{TARGET} -c 2000000000", 1, ["2000000000", "GiB", "-c"]),
    "a model for --draft": (f"{TARGET} --draft draft.gguf", 2, ["draft.gguf", "-md draft.gguf"]),
    "a word for --draft": (f"{TARGET} --draft many", 2, ["--draft", "'many'"]),
    "a word for -n": (f"{TARGET} -n many", 2, ["--predict", "a whole number", "'many'"]),
    "unknown flag": (f"{TARGET} --drafft 4", 2, ["--drafft"]),
    "unknown profile": ("--profile nothing", 2, ["nothing"]),
    "unknown name": ("-m nothing", 2, ["'nothing'", "gguf"]),
    "cache type": (f"{TARGET} -ctk q9", 2, ["--cache-type-k", "'q9'", "q8_0"]),
    "flash attention": (f"{TARGET} -fa maybe", 2, ["--flash-attn", "'maybe'", "auto"]),
    "device": (f"{TARGET} --device cuda9", 2, ["cuda9"]),
    "temperature": (f"{TARGET} --temp -1", 2, ["--temp", "-1"]),
    "n-gram sizes": (
        f"{TARGET} --ngram-size 4 --ngram-draft 3",
        2,
        ["--ngram-draft 3 is less than --ngram-size 4", "--ngram-draft 4 or more"],
    ),
    "a kind of drafter": (f"{TARGET} --spec-type wrong", 2, ["--spec-type has no 'wrong'"]),
    "top-p": (f"{TARGET} --top-p 2", 2, ["--top-p", "2"]),
    "grammar": (f"{TARGET} --grammar x", 2, ["does not parse: expecting ::= at the end", "root"]),
    "grammar file": (f"{TARGET} --grammar-file no.gbnf", 2, ["no.gbnf"]),
    "schema that is no JSON": (f"{TARGET} --json-schema {{", 2, ["not valid JSON"]),
    "schema file": (f"{TARGET} --json-schema no.json", 2, ["no.json"]),
    "logit bias of no token": (f"{TARGET} -l 320+1", 2, ["320", "target.gguf"]),
    "prompt file": (f"{TARGET} -f no.txt", 2, ["no.txt"]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_a_sentence_with_a_hint(specli: Specli, name: str) -> None:
    line, code, told = ERRORS[name]
    prompt = [] if "-f" in line.split() else ["hello"]
    outcome = specli("run", *line.split(), *prompt)
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    for words in told:
        assert words in outcome.err
    # What takes more than a second is said, as checking a model is on a busy machine.
    said = [line for line in outcome.err.splitlines() if not line.startswith("checking ")]
    starts = [line.split(" ")[0] for line in said]
    # A value out of range needs no hint but the range.
    hint = [] if "but must be" in outcome.err else ["hint:"]
    assert starts == ["error:", *hint], outcome.err


@pytest.mark.parametrize("arguments", [["hello " * 40], ["--raw", "hello " * 40]])
def test_a_prompt_too_long_is_refused_with_both_numbers(
    specli: Specli, arguments: list[str]
) -> None:
    outcome = specli("run", "-m", "target.gguf", "-c", "64", "--json", *arguments)
    assert outcome.code == 1
    assert outcome.out == ""
    words = outcome.err.split()
    assert "64" in words
    assert int(words[words.index("has") + 1]) > 64
    assert "hint: give a larger context" in outcome.err


@pytest.mark.parametrize("arguments", [[""], ["--raw", ""], ["-"], []])
def test_an_empty_prompt_is_refused(specli: Specli, arguments: list[str]) -> None:
    outcome = specli("run", "-m", "target.gguf", *arguments, stdin=b"")
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert "prompt" in outcome.err.splitlines()[0]
    assert outcome.err.splitlines()[1].startswith("hint: ")


def test_an_empty_prompt_file_is_refused(specli: Specli, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "empty.txt", b"")
    outcome = specli("run", "-m", "target.gguf", "-f", str(path))
    assert outcome.code == 2
    assert "empty.txt is empty" in outcome.err


def test_debug_shows_where_an_error_came_from(specli: Specli) -> None:
    outcome = specli("--debug", "run", "-m", "empty.gguf", "hello")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "error: " in outcome.err


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "-m", "text.gguf", "hello"], 1),
        (["run", "-m", "target.gguf", "--draft", "draft.gguf", "hello"], 2),
        (["run", "-m", "target.gguf", "-md", "foreign.gguf", "--strict-vocab", "hello"], 3),
        (["run", "-m", "text.gguf", "hello", "--debug"], 1),
    ],
)
def test_the_process_ends_with_the_documented_code(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "specli", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "error: " in done.stderr
    assert ("Traceback" in done.stderr) == ("--debug" in arguments)


BROKEN = 40


@pytest.mark.parametrize("seed", range(BROKEN))
def test_flipped_bits_in_a_header_never_crash(models: Path, tmp_path: Path, seed: int) -> None:
    whole = bytearray((models / "target.gguf").read_bytes())
    header = whole.index(b"token_embd.weight") + 2000
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 1, 2, 8])):
        whole[rng.randrange(4, header)] ^= 1 << rng.randrange(8)
    path = tiny.write(tmp_path / "broken.gguf", bytes(whole))
    try:
        with Session(Setup(path, n_ctx=64), tmp_path / "records") as session:
            engine = session.engine()
            engine.submit(GenerationRequest([5, 6, 7], max_tokens=4))
            assert list(engine.run())
    except SpecliError:
        # A refusal is as good as an answer.
        return


def test_a_cache_that_cannot_be_written_costs_one_note(
    specli: Specli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPECLI_CACHE", str(tmp_path / "file" / "cache"))
    pair = ("-m", "target.gguf", "-md", "draft.gguf", "--draft", "2")
    done = specli("run", *pair, "-n", "4", "hello")
    assert done.code == 0, done.err
    notes = [line for line in done.err.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert "cannot be written" in notes[0]


def test_a_misspelt_option_is_an_error_like_others_and_names_the_nearest(specli: Specli) -> None:
    done = specli("run", "--top-kk", "3", "hello")
    assert done.code == 2
    assert done.err == (
        "error: no such option: --top-kk\n"
        "hint: did you mean --top-k? specli run --help shows what it takes\n"
    )


def test_a_missing_argument_is_an_error_like_others(specli: Specli) -> None:
    assert specli("pair", "find").err == (
        "error: missing argument 'TARGET'\nhint: specli pair find --help shows what it takes\n"
    )
