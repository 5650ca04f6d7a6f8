"""Command lines of other tools as profiles."""

from __future__ import annotations

import pytest
import yaml

from specli.cli.profile_export import exported
from specli.cli.profile_import import imported
from specli.errors import UsageError
from specli.profiles import Profile
from tests.cli.conftest import Specli


@pytest.mark.parametrize(
    ("line", "target", "draft", "defaults"),
    [
        (
            "./build/bin/llama-server -m a.gguf -md b.gguf \\\n --port 8080 -ngl all --jinja "
            "--spec-draft-n-max 6 --temp 0.5 -r END -l 5-inf --mlock",
            "a.gguf",
            "b.gguf",
            {
                "draft_max": 6,
                "temp": 0.5,
                "stop": ["END"],
                "gpu_layers": "all",
                "logit_bias": ["5-inf"],
                "load_mode": "mmap+mlock",
            },
        ),
        ("llama-cli -hf a/b:Q4_0 -hfd c/d -p hello", "hf:a/b:Q4_0", "hf:c/d", {}),
        (
            "vllm serve a/b-GGUF:Q4_0 --max-model-len=4096 --seed 3 --speculative-config "
            """'{"method": "draft_model", "model": "c.gguf", "num_speculative_tokens": 5}' """
            """--override-generation-config '{"temperature": 0.7}' -tp 2""",
            "a/b-GGUF:Q4_0",
            "c.gguf",
            {
                "ctx_size": 4096,
                "seed": 3,
                "spec_type": "draft-simple",
                "draft_max": 5,
                "temp": 0.7,
            },
        ),
        (
            "firectl deployment create accounts/fireworks/models/x --draft-model=y "
            "--draft-token-count 4 --accelerator-type H100",
            "accounts/fireworks/models/x",
            "y",
            {"draft_max": 4},
        ),
    ],
)
def test_a_command_becomes_a_valid_profile(
    line: str, target: str, draft: str, defaults: dict[str, object]
) -> None:
    content, _notes = imported(line, "mine")
    assert (content["target"], content.get("draft")) == (target, draft)
    assert content.get("defaults", {}) == defaults
    Profile.model_validate(content)


def test_what_is_left_out_is_said() -> None:
    _content, notes = imported("llama-server -m a.gguf --port 1 --jinja --offline --json", "mine")
    assert [note.split()[0] for note in notes] == ["--port", "--jinja", "a"]
    _content, notes = imported("vllm serve a.gguf -tp 2", "mine")
    assert notes == ["left out: -tp 2"]


def test_an_exported_profile_comes_back() -> None:
    settings = {"draft_max": 6, "temp": 0.7, "stop": ["a b"], "ctx_size": 64}
    profile = Profile.model_validate(
        {
            "name": "mine",
            "description": "x",
            "target": "hf:a/b:Q4_0",
            "draft": "hf:c/d:Q8_0",
            "defaults": settings,
        }
    )
    content, _notes = imported(exported(profile, "llama-server").text, "mine")
    back = Profile.model_validate(content)
    assert (back.target, back.draft, back.defaults) == (
        profile.target,
        profile.draft,
        profile.defaults,
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("llama-server --temp 1", "names no model"),
        ("llama-server -m 'a", "cannot be read"),
        ("llama-server -m a.gguf --temp warm", "--temp takes a number"),
        ("vllm serve a.gguf --speculative-config {", "not valid JSON"),
        ("", "names no model"),
    ],
)
def test_a_line_that_is_no_command_is_refused(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        imported(line, "mine")


def test_the_command_prints_yaml(specli: Specli) -> None:
    done = specli("profile", "import", "mine", "llama-server -m a.gguf --port 1")
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["target"] == "a.gguf"
    assert done.err.startswith("note: --port has no effect")
    assert specli("profile", "import", "My Name", "llama-server -m a.gguf").code == 2
