from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from specli.cli import profile
from specli.errors import UsageError
from specli.option_table import GENERATION
from specli.profiles import Settings, load_profile


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, in a place of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "specli.profiles.user_config_path", lambda *_args, **_more: tmp_path / "config"
    )
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "config" / "profiles"


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.add_typer(profile.app, name="profile")
    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


def test_a_profile_can_say_everything_that_decides_a_text() -> None:
    models = {"profile", "model", "model_draft", "hf_repo", "hf_file", "hf_repo_draft", "offline"}
    other = {"no_draft", "recalibrate", "speculative_config", "system_file"}
    other |= {"rpc", "rpc_insecure"}  # a file from elsewhere names no server
    assert set(Settings.model_fields) == set(GENERATION) - models - other


EVERYTHING = """\
name: mine
description: A pair
target: big.gguf
defaults:
  draft_max: auto
  spec_type: suffix,draft
  lookup_cache: counts.bin
  gpu_layers: all
  threads: auto
  stop: [END, "###"]
  logit_bias: [5-inf, 6+1]
  json_schema: '{"type": "object"}'
  ignore_eos: true
  raw: true
"""


def test_a_profile_means_what_the_flags_mean(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EVERYTHING)
    assert load_profile(str(path)).defaults.given() == {
        "draft_max": "auto",
        "spec_type": "suffix,draft",
        "lookup_cache": Path("counts.bin"),
        "gpu_layers": "all",
        "threads": "auto",
        "stop": ("END", "###"),
        "logit_bias": {5: float("-inf"), 6: 1.0},
        "json_schema": '{"type": "object"}',
        "ignore_eos": True,
        "raw": True,
    }


def test_a_bias_that_no_flag_takes_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EVERYTHING.replace("5-inf", "five"))
    with pytest.raises(UsageError, match=r"mine.yaml:11: defaults.logit_bias: .* 'five'"):
        load_profile(str(path))


def test_the_list_has_names_descriptions_and_what_is_not_valid(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "broken.yaml").write_text("name: broken\n")
    shown = run("list").stdout
    assert "smollm2 " in shown
    assert "drafted by itself" in shown
    assert "not valid: profiles/broken.yaml:1" in shown


def test_show_prints_the_file() -> None:
    assert yaml.safe_load(run("show", "smollm2").stdout)["name"] == "smollm2"


def test_effective_is_the_profile_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndescription: A pair\ntarget: big.gguf\n"
        "draft: {from: big.gguf, type: Q2_K}\ndefaults: {draft_max: 8, temp: 0.5}\n"
    )
    shown = yaml.safe_load(run("show", path, "--effective").stdout)
    assert shown["target"] == "big.gguf"
    assert shown["draft"] == {"from": "big.gguf", "type": "Q2_K"}
    assert (shown["draft_max"], shown["temp"]) == (8, 0.5)
    assert (shown["top_k"], shown["threads"]) == (40, "auto")


def test_validate_names_every_mistake_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: good\ndescription: One\ntarget: a.gguf\n")
    bad.write_text("name: bad\ndescription: One\ntarget: a.gguf\ndrft: b.gguf\n")
    result = run("validate", good, bad)
    assert result.exit_code == 2
    assert result.stdout == f"{good}: valid\n"
    assert result.stderr == f"{bad}:4: unknown key drft (did you mean draft?)\n"
    assert run("validate", good).exit_code == 0


def test_validate_lists_all_mistakes_of_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "nme: bad\ndescription: One\ntarget: a.gguf\ndefaults:\n  temprature: 1\n  top_k: many\n"
        "  nothing_like_it: 1\n"
    )
    told = sorted(run("validate", path).stderr.splitlines())
    assert told[0] == f"{path}:1: unknown key nme (did you mean name?)"
    assert told[1] == f"{path}:5: unknown key defaults.temprature (did you mean temp?)"
    assert told[2].startswith(f"{path}:6: defaults.top_k: ")
    assert told[3].startswith(f"{path}:7: unknown key defaults.nothing_like_it")
    assert len(told) == 4


def test_validate_takes_the_names_of_profiles_that_ship() -> None:
    result = run("validate", "smollm2", "qwen3-8b")
    assert result.exit_code == 0
    assert [line.rpartition(": ")[2] for line in result.stdout.splitlines()] == ["valid"] * 2
    assert "did you mean smollm2?" in run("validate", "smolm2").stderr
