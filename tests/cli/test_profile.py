from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from specli.cli import profile
from specli.cli.options import RunOptions
from specli.errors import UsageError
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


def test_every_setting_of_a_profile_is_a_flag() -> None:
    assert set(Settings.model_fields) <= {field.name for field in fields(RunOptions)}


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


def test_a_new_profile_is_valid_and_found_by_name(user_folder: Path) -> None:
    result = run("new", "mine", "-m", "a/b:Q8_0", "-md", "c/d:Q4_0", "--draft-max", "8")
    assert Path(result.stdout.strip()) == user_folder / "mine.yaml"
    made = load_profile("mine")
    assert (made.target_model, made.draft_model) == ("a/b:Q8_0", "c/d:Q4_0")
    assert made.defaults.given() == {"draft_max": 8}


def test_a_new_profile_never_replaces_one(user_folder: Path) -> None:
    run("new", "mine", "-m", "a.gguf")
    assert isinstance(run("new", "mine", "-m", "b.gguf").exception, UsageError)
    assert load_profile("mine").target_model == "a.gguf"


@pytest.mark.parametrize("name", ["Mine", "../mine", "a b", ""])
def test_a_name_that_no_profile_can_have_writes_nothing(user_folder: Path, name: str) -> None:
    assert isinstance(run("new", name, "-m", "a.gguf").exception, UsageError)
    assert not user_folder.exists()


def test_validate_names_every_mistake_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: good\ndescription: One\ntarget: a.gguf\n")
    bad.write_text("name: bad\ndescription: One\ntarget: a.gguf\ndrft: b.gguf\n")
    result = run("validate", good, bad)
    assert result.exit_code == 2
    assert result.stdout == f"{good}: valid\n"
    assert result.stderr == f"{bad}:4: unknown key drft (did you mean draft?)\n"
    assert run("validate", good).exit_code == 0
