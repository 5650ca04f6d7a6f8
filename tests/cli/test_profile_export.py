"""A profile as another tool's own command or file."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest

from specli.cli.llama_flags import by_spelling
from specli.cli.profile_export import TOOLS, exported
from specli.profiles import Profile, profile_files, read_profile
from tests.cli.conftest import Specli

PAIR = {
    "name": "pair",
    "description": "A pair",
    "target": "hf:a/big-GGUF:Q4_K_M",
    "draft": "hf:a/small-GGUF:Q8_0",
}
SETTINGS = {
    "draft_max": 6,
    "temp": 0.7,
    "ctx_size": 4096,
    "stop": ["END", "a b"],
    "ngram": True,
    "ignore_eos": True,
    "logit_bias": ["5-inf"],
}


def pair(**more: object) -> Profile:
    return Profile.model_validate({**PAIR, **more})


def test_llama_server_gets_its_own_flags() -> None:
    made = exported(pair(defaults=SETTINGS), "llama-server")
    words = shlex.split(made.text)
    assert words[:5] == ["llama-server", "-hf", "a/big-GGUF:Q4_K_M", "-hfd", "a/small-GGUF:Q8_0"]
    pairs = list(itertools.pairwise(words))
    for expected in [
        ("--spec-draft-n-max", "6"),
        ("--temp", "0.7"),
        ("--ctx-size", "4096"),
        ("-r", "END"),
        ("-r", "a b"),
        ("--logit-bias", "5-inf"),
    ]:
        assert expected in pairs
    assert "--ignore-eos" in words
    assert made.notes == ["llama-server has no ngram: True"]


@pytest.mark.parametrize("name", profile_files())
def test_every_shipped_profile_becomes_flags_that_llama_server_has(name: str) -> None:
    made = exported(read_profile(profile_files()[name]), "llama-server")
    words = shlex.split(made.text)
    assert {word for word in words[1:] if word.startswith("-")} <= by_spelling().keys()
    assert not {"--draft", "--draft-max", "--draft-min"} & {*words}


def test_vllm_gets_a_speculative_config() -> None:
    made = exported(pair(defaults={"draft_max": 6, "temp": 0.7, "seed": 3}), "vllm")
    words = shlex.split(made.text)
    assert words[:3] == ["vllm", "serve", "a/big-GGUF:Q4_K_M"]
    assert json.loads(words[words.index("--speculative-config") + 1]) == {
        "method": "draft_model",
        "model": "a/small-GGUF:Q8_0",
        "num_speculative_tokens": 6,
    }
    assert json.loads(words[words.index("--override-generation-config") + 1]) == {
        "temperature": 0.7
    }
    assert words[words.index("--seed") + 1] == "3"
    assert made.notes == []


def test_fireworks_gets_places_for_its_own_models() -> None:
    made = exported(pair(), "fireworks")
    assert made.text == (
        "firectl deployment create accounts/fireworks/models/TARGET --draft-model "
        "accounts/fireworks/models/DRAFT --draft-token-count 4\n"
    )
    assert "fixed length: 4" in made.notes[0]
    assert "hf:a/big-GGUF:Q4_K_M and hf:a/small-GGUF:Q8_0" in made.notes[1]


def test_lm_studio_gets_a_command_and_the_config_of_requests() -> None:
    made = exported(pair(defaults={"temp": 0.7, "ctx_size": 64, "top_k": 5}), "lm-studio")
    command, config = made.text.splitlines()
    assert command == "lms load a/big-GGUF --context-length 64"
    assert json.loads(config) == {
        "temperature": 0.7,
        "topKSampling": 5,
        "draftModel": "a/small-GGUF",
    }


def test_ollama_gets_a_modelfile_without_the_draft() -> None:
    settings = {"temp": 0.7, "stop": ['say "x"'], "system": "Be brief.", "ctx_size": "auto"}
    made = exported(pair(defaults=settings), "ollama")
    assert made.text == (
        "FROM hf.co/a/big-GGUF:Q4_K_M\n"
        "PARAMETER temperature 0.7\n"
        'PARAMETER stop "say \\"x\\""\n'
        'SYSTEM """Be brief."""\n'
    )
    assert made.notes[0].startswith("a Modelfile names no draft model")


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("big-Q4_K_M.gguf", "a/big:Q4_K_M"),
        ("big.UD-IQ2_XXS.gguf", "a/big:UD-IQ2_XXS"),
        ("big-q8_0-00001-of-00002.gguf", "a/big:q8_0"),
        ("big.gguf", "a/big"),
    ],
)
def test_a_file_of_a_repository_is_named_by_its_type(file: str, named: str) -> None:
    made = exported(pair(target=f"hf:a/big/{file}", draft=None), "ollama")
    assert made.text == f"FROM hf.co/{named}\n"
    assert bool(made.notes) == (named == "a/big")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_made_draft_and_a_local_file_can_be_exported(tool: str) -> None:
    made = exported(pair(target="/m/big.gguf", draft={"from": "/m/big.gguf", "type": "Q2_K"}), tool)
    assert made.text
    assert any("Q2_K" in note for note in made.notes)
    assert ("/m/big.gguf" in made.text) == (tool != "fireworks")


def test_the_command_prints_the_text_and_notes_what_is_left_out(
    specli: Specli, tmp_path: Path
) -> None:
    done = specli("profile", "export", "qwen3-8b", "--to", "ollama")
    assert done.code == 0
    assert done.out.startswith("FROM hf.co/")
    assert done.err.startswith("note: a Modelfile names no draft model")
    wrong = specli("profile", "export", "qwen3-8b", "--to", "olama")
    assert wrong.code == 2
    assert "llama-server" in wrong.err
